import numpy as np
import pytest

from transhash import load_hasher, read_codes

pytestmark = pytest.mark.slow

TINY = ["--backbone", "test_vit", "--image-size", 32, "--patch-size", 16, "--groups", 2, "--bits", 16]


@pytest.fixture(scope="module")
def members(th_inside, pictures, tmp_path_factory):
    """Two hashers, trained from the same weights."""
    folder = tmp_path_factory.mktemp("members")
    for seed in range(2):
        run = ["--weights", folder / "0.safetensors"] if seed else []
        th_inside("train", pictures, "-o", folder / f"{seed}.safetensors", *TINY, "--epochs", 1, "--seed", seed, *run)
    return folder


def test_soup_encodes(th_inside, pictures, members, tmp_path):
    done = th_inside("soup", "0.safetensors", "1.safetensors", "-o", tmp_path / "h.safetensors", cwd=members)
    assert done.stdout == ""
    assert done.stderr == f"wrote {tmp_path / 'h.safetensors'}: 16 bits, the mean of 2 hashers\n"
    th_inside("encode", pictures, "-o", "c.h5", "--model", "h.safetensors", cwd=tmp_path)
    codes = read_codes(tmp_path / "c.h5")
    assert np.asarray(codes.packed).shape == (24, 2)
    assert codes.model == load_hasher(tmp_path / "h.safetensors").ref


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["0.safetensors"], 1, "at least two files"),
        ([], 2, "Missing argument"),
        (["0.safetensors", "gone.safetensors"], 2, "gone.safetensors"),
        (["0.safetensors", "log.csv"], 1, "log.csv: not a hasher"),
    ],
)
def test_misuse_is_one_line(th_inside, members, arguments, code, words):
    (members / "log.csv").write_text("step\n")
    done = th_inside("soup", *arguments, "-o", "h.safetensors", cwd=members, code=code)
    assert done.stderr.startswith("Error: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (members / "h.safetensors").exists()


def test_other_files_are_not_overwritten(th_inside, members, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = th_inside("soup", "0.safetensors", "1.safetensors", "-o", tmp_path / "notes.txt", cwd=members, code=1)
    assert "exists and is not a hasher" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
