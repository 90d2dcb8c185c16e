"""`th fit --embedder`, and every command that its hasher goes through."""

import json
import re

import numpy as np
import pytest

import transhash
from tests.hashers.onnx_models import WIDTH, linear, save

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """A linear model with 32 numbers per image."""
    weight = np.random.default_rng(0).standard_normal((WIDTH, 32))
    return save(tmp_path_factory.mktemp("model") / "model.onnx", linear(weight))


@pytest.fixture(scope="module")
def fitted(th_inside, pictures, embedder, tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "h.safetensors"
    done = th_inside("fit", pictures, "-o", path, "--embedder", embedder, "--bits", 16)
    assert f"wrote {path}: 16 bits, fitted to 24 images" in done.stderr
    assert "8 px, central square" in done.stderr
    return path


def test_fit_encode_index_query(th_inside, pictures, embedder, fitted, tmp_path):
    th_inside("encode", pictures, "-o", "c.h5", "--model", fitted, "--embedder", embedder, cwd=tmp_path)
    codes = transhash.read_codes(tmp_path / "c.h5")
    assert codes.model == transhash.load_hasher(fitted).ref
    th_inside("index", "build", "c.h5", "-o", "i.index", cwd=tmp_path)
    query = pictures / "cross" / "4.png"
    done = th_inside("query", "i.index", query, "-k", 8, "--rerank", "asymmetric", "--json", cwd=tmp_path)
    (found,) = json.loads(done.stdout)["queries"]
    assert [match["labels"] for match in found["matches"]] == [["cross"]] * 8


def test_several_processes_encode_the_same_bits(th_inside, pictures, fitted, tmp_path):
    th_inside("encode", pictures, "-o", tmp_path / "1.h5", "--model", fitted)
    th_inside("encode", pictures, "-o", tmp_path / "2.h5", "--model", fitted, "--processes", 2, "--batch-size", 5)
    one, two = (transhash.read_codes(tmp_path / name).packed for name in ("1.h5", "2.h5"))
    np.testing.assert_array_equal(one, two)


def test_settings_are_those_of_the_file_and_the_options(th_inside, pictures, tmp_path):
    path = save(tmp_path / "m.onnx", linear(np.random.default_rng(0).standard_normal((WIDTH, 32))))
    (tmp_path / "m.toml").write_text('fit = "squash"\nmean = [0.5, 0.5, 0.5]\n')
    options = ["--embedder-std", "0.5,0.25,1", "--no-embedder-normalize", "--embedder-mean", "0,0,0", "--bits", 16]
    done = th_inside("fit", pictures, "-o", tmp_path / "h.safetensors", "--embedder", path, *options)
    assert "8 px, whole image" in done.stderr
    found = transhash.load_hasher(tmp_path / "h.safetensors").config.preprocessing
    assert found == transhash.EmbedderConfig(
        size=8, fit="squash", mean=(0, 0, 0), std=(0.5, 0.25, 1), embedding="embedding", normalize=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit", "--embedder", "none.onnx"], 2, "none.onnx' does not exist"),
        (["fit", "--embedder", "{text}"], 1, r"text\.onnx: not an ONNX file"),
        (["fit", "--embedder-size", "224"], 2, "--embedder-size needs --embedder"),
        (["fit", "--no-embedder-normalize"], 2, "--embedder-normalize needs --embedder"),
        (["fit", "--embedder", "{model}", "--embedder-mean", "a,b"], 2, "give three numbers separated by commas"),
        (
            ["fit", "--embedder", "{model}", "--embedder-mean", "1,2"],
            2,
            r"--embedder-mean \(1.0, 2.0\): must be three numbers",
        ),
        (["fit", "--embedder", "{model}", "--embedder-size", "16"], 1, "takes images of 8 pixels; size is 16"),
        (["fit", "--embedder", "{model}", "--depth", "4"], 2, "leave out --depth"),
        (["fit", "--embedder", "{model}", "--pretrained"], 2, "an embedder has weights of its own"),
        (
            ["encode", "--embedder", "{model}"],
            1,
            "copy: not fitted to an ONNX model; fit a hasher to it first: th fit",
        ),
        (["encode", "--model", "{model}"], 1, "an ONNX model, not a hasher; fit one to it: th fit"),
        (["encode", "--model", "{fitted}", "--embedder", "{other}"], 1, r"other\.onnx: not the ONNX model that"),
        (["encode", "--model", "{fitted}", "--embedder", "none.onnx"], 2, "none.onnx' does not exist"),
        (["encode", "--model", "{fitted}", "--bf16"], 1, "leave out --bf16"),
    ],
)
def test_misuse_gives_one_line(th_inside, pictures, embedder, fitted, tmp_path, arguments, code, message):
    (tmp_path / "text.onnx").write_text("no model")
    save(tmp_path / "other.onnx", linear(np.ones((WIDTH, 32))))
    known = {"text": tmp_path / "text.onnx", "other": tmp_path / "other.onnx", "model": embedder, "fitted": fitted}
    command, *rest = [argument.format(**known) for argument in arguments]
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / ("h.safetensors" if command == "fit" else "c.h5")
    done = th_inside(command, pictures, "-o", output, *rest, code=code)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert re.search(message, line)
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").iterdir())
