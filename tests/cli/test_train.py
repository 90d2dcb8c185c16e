import json
import os
import signal

import pytest

from transhash import load_hasher

TINY = ["--backbone", "test_vit", "--image-size", "32", "--patch-size", "8", "--stride", "6", "--groups", "2"]


def test_train_encode_index_query(th, pictures, hasher_file, tmp_path):
    """The chain of the README, with a hasher that the command trained."""
    hasher = load_hasher(hasher_file)
    assert hasher.ref.bits == 16
    assert hasher.class_names == ("circle", "cross", "stripe")
    th("encode", pictures, "-o", "c.h5", "--model", hasher_file, cwd=tmp_path)
    th("index", "build", "c.h5", "-o", "photos.index", cwd=tmp_path)
    done = th("query", "photos.index", pictures / "cross" / "4.png", "-k", 24, "--json", cwd=tmp_path)
    matches = json.loads(done.stdout)["queries"][0]["matches"]
    assert matches[0]["distance"] == 0
    assert str(pictures / "cross" / "4.png") in [match["path"] for match in matches if match["distance"] == 0]
    info = json.loads(th("index", "info", "photos.index", "--json", cwd=tmp_path).stdout)
    assert info["model_digest"] == hasher.ref.digest


def test_progress_goes_to_stderr(th, pictures, tmp_path):
    done = th("train", pictures, "-o", tmp_path / "h.safetensors", *TINY, "--epochs", 1)
    assert done.stdout == ""
    assert "24 images in" in done.stderr
    assert "loss" in done.stderr
    assert "wrote" in done.stderr


def test_interrupted_training_leaves_no_file(start, pictures, tmp_path):
    process = start("train", pictures, "-o", tmp_path / "h.safetensors", *TINY, "--epochs", 100000)
    for line in process.stderr:
        if "loss" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("Error: interrupted")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bits", "60"], 1, "multiple of 8"),
        (["--backbone", "resnet18"], 1, "backbone resnet18"),
        (["--epochs", "0"], 1, "epochs 0: must be from 1"),
        (["--pretrained", "--weights", "{file}"], 2, "exclude each other"),
        (["--weights", "{file}"], 1, "lacks"),
        (["--weights", "none.safetensors"], 2, "does not exist"),
        (["--pretrained"], 1, "get that file elsewhere and pass --weights FILE"),
    ],
)
def test_misuse_gives_one_line(th, pictures, hasher_file, tmp_path, arguments, code, message):
    given = [argument.format(file=hasher_file) for argument in arguments]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "none")}
    done = th("train", pictures, "-o", tmp_path / "h.safetensors", *TINY, *given, code=code, env=offline)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
