import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time

import huggingface_hub
import pytest
from PIL import Image

from transhash import load_hasher
from transhash.training.learner import Learner

pytestmark = pytest.mark.slow

TINY = ["--backbone", "test_vit", "--image-size", "32", "--patch-size", "8", "--stride", "6", "--groups", "2"]


def test_train_encode_index_query(th_inside, pictures, hasher_file, tmp_path):
    """The chain of the README, with a hasher that the command trained."""
    hasher = load_hasher(hasher_file)
    assert hasher.ref.bits == 16
    assert hasher.class_names == ("circle", "cross", "stripe")
    th_inside("encode", pictures, "-o", "c.h5", "--model", hasher_file, cwd=tmp_path)
    th_inside("index", "build", "c.h5", "-o", "photos.index", cwd=tmp_path)
    done = th_inside("query", "photos.index", pictures / "cross" / "4.png", "-k", 24, "--json", cwd=tmp_path)
    matches = json.loads(done.stdout)["queries"][0]["matches"]
    assert matches[0]["distance"] == 0
    assert str(pictures / "cross" / "4.png") in [match["path"] for match in matches if match["distance"] == 0]
    info = json.loads(th_inside("index", "info", "photos.index", "--json", cwd=tmp_path).stdout)
    assert info["digest"] == hasher.ref.digest


def test_options_beside_a_preset(th_inside, pictures, tmp_path):
    few = ["--bits", 16, "--epochs", 1, "--batch-size", 8, "--resize", 36]
    th_inside("train", pictures, "-o", tmp_path / "h.safetensors", "--preset", "transhash-icmr22", *TINY, *few)
    hasher = load_hasher(tmp_path / "h.safetensors")
    made = hasher.training["config"]
    assert (made["loss"], made["optimizer"], made["lr"], made["warmup"], made["resize"]) == (
        "transhash",
        "sgd",
        0.03,
        500,
        36,
    )
    assert hasher.architecture.backbone == "test_vit"


def test_interrupt_and_restart(launch, left, th_inside, pictures, tmp_path, monkeypatch):
    """Ctrl-C leaves no hasher, but a run that can be resumed; --restart starts over and leaves only a log.

    The second signal goes to every process, as services are stopped: the processes that decode leave it to the one
    that saves the run.
    """
    output, folder = tmp_path / "h.safetensors", tmp_path / "h.run"
    command = ["train", pictures, "-o", output, *TINY, "--epochs", 100000]
    steps = [0]

    def check_interrupted(errors):
        saved = re.search(r"^saved after step (\d+); the same command resumes from there$", errors, re.MULTILINE)
        assert errors.splitlines()[-1].startswith("Error: interrupted")
        assert "Traceback" not in errors
        assert os.listdir(tmp_path) == ["h.run"]
        assert {"log.csv", "checkpoint.safetensors"} <= set(os.listdir(folder))
        steps.append(int(saved[1]))

    step = Learner.step

    def interrupted(learner, number, batches):
        if number == 2:
            signal.raise_signal(signal.SIGINT)
        return step(learner, number, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", interrupted)
        check_interrupted(th_inside(*command, code=130).stderr)
    process = launch(*command, "--workers", 2)
    while process.poll() is None and logged(folder) <= steps[-1]:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    check_interrupted(process.communicate(timeout=600)[1])
    assert process.returncode == 130
    assert not left(process.pid)
    assert 0 < steps[1] < steps[2]

    run = [*TINY, "--epochs", 2, "--batch-size", 9, "--validation", 0.25]
    done = th_inside("train", pictures, "-o", output, *run, "--restart")
    assert done.stdout == ""
    held_out = "18 training images, 6 held out"
    for remark in ("24 images in", held_out, "36/36 images", "loss", "mAP", f"wrote {output}"):
        assert remark in done.stderr
    assert "resuming" not in done.stderr
    assert load_hasher(output).training["config"]["epochs"] == 2
    assert sorted(os.listdir(tmp_path)) == ["h.run", "h.safetensors"]
    assert not (folder / "checkpoint.safetensors").exists()
    with (folder / "log.csv").open() as log:
        assert [row["step"] for row in csv.DictReader(log)] == ["1", "2", "3", "4"]
    if importlib.util.find_spec("tensorboard"):
        assert list(folder.glob("events.out.tfevents.*"))


def logged(folder):
    """The last step in the log of a run."""
    log = folder / "log.csv"
    last = log.read_text().splitlines()[-1:] if log.exists() else []
    return int(last[0].split(",")[0]) if last and last[0][:1].isdigit() else 0


def test_a_list_with_several_classes_an_image(th_inside, pictures, tmp_path):
    names = [f"{path.relative_to(pictures)} 1 {int(path.stem) % 2}\n" for path in sorted(pictures.glob("*/*.png"))]
    (tmp_path / "list.txt").write_text("".join(names))
    run = [*TINY, "--list", tmp_path / "list.txt", "--epochs", 1, "--batch-size", 12]
    th_inside("train", pictures, "-o", tmp_path / "h.safetensors", *run)
    assert load_hasher(tmp_path / "h.safetensors").class_names == ("0", "1")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bits", "60"], 2, "60 bits: must be a multiple of 8"),
        (["--epochs", "0"], 2, "'--epochs': 0 is not in the range 1<=x<=100000"),
        (["--flip", "1.5"], 2, "'--flip': 1.5 is not in the range 0.0<=x<=1.0"),
        (["--lr", "nan"], 2, "'--lr': nan is not a number"),
        (["--workers", "-1"], 2, "'--workers': -1 is not in the range 0<=x<=256"),
        (["--loss", "hinge"], 2, "'--loss': 'hinge' is not one of 'transhash', 'dch'"),
        (["--precision", "fp8"], 2, "'--precision': 'fp8' is not one of 'auto', 'bf16', 'fp32'"),
        (["--loss", "csq", "--gamma", "3"], 2, "gamma: the loss csq does not have it"),
        (["--pretrained", "--weights", "{file}"], 2, "--pretrained and --weights cannot be combined"),
        (["--weights", "none.safetensors"], 2, "'--weights': File 'none.safetensors' does not exist"),
        (["-o", "{folder}/h.run"], 1, "the suffix .run is that of the run's folder"),
        (["-o", "{folder}/none/h.safetensors"], 2, "none' does not exist"),
        (["--weights", "{text}"], 1, "no weights for this backbone"),
        (["--backbone", "resnet50"], 1, "resnet50: not a plain vision transformer with a class token"),
        (["--backbone", "vit_of_nobody"], 1, "'vit_of_nobody': timm has no such model"),
    ],
)
def test_misuse_gives_one_line_and_leaves_nothing(
    th_inside, pictures, hasher_file, tmp_path, arguments, code, message
):
    text = pictures.parent / "text.safetensors"
    text.write_text("no tensors")
    given = [argument.format(file=hasher_file, folder=tmp_path, text=text) for argument in arguments]
    done = th_inside("train", pictures, "-o", tmp_path / "h.safetensors", *TINY, *given, code=code)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


def test_without_access_to_the_hub(th_inside, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    output = tmp_path / "h.safetensors"
    done = th_inside("train", pictures, "-o", output, *TINY, "--pretrained", code=1)
    assert done.stderr.count("Error: ") == 1
    assert "get that file elsewhere and pass --weights FILE" in done.stderr
    assert os.listdir(tmp_path) == []


WITHOUT_TORCH = """
import json, sys
from transhash_cli import running
for arguments in json.loads(sys.argv[1]):
    assert running.run(arguments) == 1, arguments
    assert "torch" not in sys.modules, arguments
"""
CHEAP = [
    (["train", "{flat}", "-o", "h.safetensors"], "has no label; put every image into a subfolder"),
    (["train", "{pictures}", "-o", "h.safetensors", "--weights", "{jpeg}"], "no weights for this backbone"),
    (["train", "{pictures}", "-o", "h.safetensors", "--backbone", "resnet50"], "not a plain vision transformer"),
    (["train", "{pictures}", "-o", "{jpeg}"], "exists and is not a hasher"),
    (["fit", "{flat}", "-o", "h.safetensors"], "pass --pretrained (pretrained=True), --weights FILE"),
    (["soup", "{jpeg}", "{jpeg}", "-o", "h.safetensors"], "not a hasher, or a damaged one"),
    (["encode", "{flat}", "-o", "c.h5", "--model", "{jpeg}"], "not a hasher, or a damaged one"),
]


def test_cheap_checks_come_before_loading_torch(pictures, tmp_path):
    """In one process, as importing everything else takes long, too."""
    jpeg, flat = tmp_path / "cat.jpg", pictures / "cross"
    Image.new("RGB", (9, 9)).save(jpeg)
    words = [[word.format(jpeg=jpeg, flat=flat, pictures=pictures) for word in arguments] for arguments, _ in CHEAP]
    program = [sys.executable, "-c", WITHOUT_TORCH, json.dumps(words)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == len(CHEAP)
    for error, (_, message) in zip(errors, CHEAP, strict=True):
        assert message in error
    assert os.listdir(tmp_path) == ["cat.jpg"]
