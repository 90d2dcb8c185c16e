import json
import os
import re

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from transhash import load_hasher, read_codes
from transhash.hashers.architecture import Architecture
from transhash.hashers.smvit import plain_backbone
from transhash.sources import list_images
from transhash.training.config import FitConfig
from transhash.training.unsupervised import fit

pytestmark = pytest.mark.slow

TINY = ["--backbone", "test_vit", "--image-size", 32, "--patch-size", 8, "--stride", 6, "--bits", 16]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a tiny backbone, as a file."""
    torch.manual_seed(0)
    backbone = plain_backbone(Architecture(backbone="test_vit", image_size=32, patch_size=8))
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file({name: weight.contiguous() for name, weight in backbone.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def fitted(th_inside, pictures, weights, tmp_path_factory):
    """A hasher that the command fitted."""
    path = tmp_path_factory.mktemp("fitted") / "h.safetensors"
    done = th_inside("fit", pictures, "-o", path, *TINY, "--weights", weights, "--method", "itq")
    assert done.stdout == ""
    assert "24 images in" in done.stderr
    assert f"wrote {path}: 16 bits, fitted to 24 images" in done.stderr
    assert os.listdir(path.parent) == ["h.safetensors"]
    return path


def test_fit_encode_index_query(th_inside, pictures, fitted, tmp_path):
    """The chain of the README, without labels: pictures that look alike are found by one another."""
    th_inside("encode", pictures, "-o", "c.h5", "--model", fitted, cwd=tmp_path)
    codes = read_codes(tmp_path / "c.h5")
    assert codes.model == load_hasher(fitted).ref
    bits = np.unpackbits(np.asarray(codes.packed), axis=1)
    assert bits.shape == (24, 16)
    assert (bits.min(axis=0) < bits.max(axis=0)).all()  # planes through the mean: no bit is the same for all
    th_inside("index", "build", "c.h5", "-o", "photos.index", cwd=tmp_path)
    labels = ("circle", "cross", "stripe")
    queries = [pictures / label / "4.png" for label in labels]
    done = th_inside("query", "photos.index", *queries, "-k", 8, "--json", cwd=tmp_path)
    for label, query in zip(labels, json.loads(done.stdout)["queries"], strict=True):
        assert query["matches"][0]["distance"] == 0
        assert [match["labels"] for match in query["matches"]] == [[label]] * 8


def test_the_file_is_that_of_the_function(pictures, weights, fitted, tmp_path):
    architecture = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=8, stride=6, groups=0)
    fit(list_images(pictures), architecture, FitConfig(method="itq"), weights=weights).save(
        tmp_path / "h.safetensors"
    )
    ours, theirs = load_file(tmp_path / "h.safetensors"), load_file(fitted)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)
    assert theirs["backbone.pos_embed"].shape == (1, 1 + 5 * 5, 64)


def test_options_are_recorded_in_the_file(th_inside, pictures, weights, tmp_path):
    """And of a list's images, those that cannot be read are named."""
    (tmp_path / "photos").mkdir()
    for number in range(9):
        (tmp_path / "photos" / f"{number}.png").write_bytes((pictures / "cross" / f"{number % 8}.png").read_bytes())
    (tmp_path / "photos" / "3.png").write_bytes(b"no picture")
    (tmp_path / "list.txt").write_text("".join(f"{number}.png\n" for number in range(1, 9)))
    given = ["--method", "lsh", "--sample", 9, "--seed", 9, "--stride", 8, "--pool", "both", "--bits", 64]
    files = ["photos", "-o", "h.safetensors", "--list", "list.txt", "--weights", weights]
    done = th_inside("fit", *files, *TINY, *given, cwd=tmp_path)
    assert "8 images in" in done.stderr
    assert "skipped 3.png: not an image of a known format" in done.stderr
    hasher = load_hasher(tmp_path / "h.safetensors")
    assert hasher.training == {"method": "lsh", "images": 7, "seed": 9}
    assert hasher.architecture == Architecture(
        bits=64, backbone="test_vit", image_size=32, patch_size=8, stride=8, groups=0, pool="both"
    )
    tensors = load_file(tmp_path / "h.safetensors")
    assert tensors["global_head.weight"].shape == (64, 2 * 64)
    torch.testing.assert_close(tensors["backbone.pos_embed"], load_file(weights)["pos_embed"])  # no overlap


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 1, r"pass --pretrained .*, --weights FILE .* or --embedder FILE"),
        (["--weights", "{weights}", "--bits", "32"], 1, r"crovca of 32 bits .* 24 images, 64 values: .*--method lsh"),
        (["--weights", "{weights}", "--bits", "60"], 2, r"60 bits: must be a multiple of 8"),
        (["--weights", "{weights}", "--stride", "0"], 2, r"--stride.* 0 is not in the range"),
        (["--weights", "{weights}", "--groups", "2"], 2, r"No such option '?--groups"),
        (["--weights", "{weights}", "--method", "pca"], 2, r"'pca' is not one of 'crovca', 'itq', 'whiten', 'lsh'"),
        (["--weights", "{weights}", "--pretrained"], 2, r"cannot be combined"),
        (["--weights", "{malformed}"], 1, r"{malformed}: no weights for this backbone .*pos_embed is \(384,\)"),
        (["--weights", "none.safetensors"], 2, r"does not exist"),
    ],
)
def test_misuse_gives_one_line(th_inside, pictures, weights, fitted, tmp_path, arguments, code, message):
    """And leaves the existing file unchanged."""
    (tmp_path / "out").mkdir()
    malformed, output = tmp_path / "malformed.safetensors", tmp_path / "out" / "h.safetensors"
    save_file(load_file(weights) | {"pos_embed": torch.zeros(384)}, malformed)
    output.write_bytes(fitted.read_bytes())
    given = [argument.format(weights=weights, malformed=malformed) for argument in arguments]
    done = th_inside("fit", pictures, "-o", output, *TINY, *given, code=code)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert re.search(message.replace("{malformed}", re.escape(str(malformed))), errors[0])
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "out") == ["h.safetensors"]
    assert output.read_bytes() == fitted.read_bytes()


def test_invalid_outputs(th_inside, pictures, weights, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    done = th_inside("fit", pictures, "-o", tmp_path / "cat.jpg", *TINY, "--weights", weights, code=1)
    assert "exists and is not a hasher" in done.stderr
    assert (tmp_path / "cat.jpg").read_bytes() == b"a picture"
    done = th_inside("fit", pictures, "-o", tmp_path / "none" / "h.safetensors", *TINY, "--weights", weights, code=2)
    assert "none" in done.stderr
    assert os.listdir(tmp_path) == ["cat.jpg"]


def test_help_shows_an_example_that_parses(th, pictures, tmp_path, monkeypatch):
    """Without access to the hub, the example fails only because the weights are missing."""
    text = th("fit", "--help").stdout
    for option in ("--stride", "--pool", "--method", "--sample", "--weights"):
        assert option in text
    assert "--groups" not in text
    example, _ = re.findall(r"^ +th (fit photos/ .*)$", text, re.MULTILINE)
    (tmp_path / "photos").symlink_to(pictures)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    done = th(*example.split(), *TINY, cwd=tmp_path, code=1)  # with a network of a test's size
    assert "cannot be downloaded from the model hub" in done.stderr
