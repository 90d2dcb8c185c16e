"""Nested codes from the images to an index of their first bits, as a user of the command line takes them."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transhash_cli.group import cli

import transhash
from transhash.errors import TransHashError
from transhash.hashers.architecture import Architecture
from transhash.hashers.transhash import start

NESTED = Architecture(
    bits=64, nested=(16, 32), backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2
)


@pytest.fixture
def run(tmp_path, pictures):
    torch.manual_seed(0)
    start(NESTED).save(tmp_path / "h.safetensors")

    def th(*words):
        return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False, catch_exceptions=False)

    th("encode", pictures, "-o", tmp_path / "codes.h5", "--model", tmp_path / "h.safetensors")
    return th


@pytest.mark.slow
def test_an_index_of_short_codes_is_searched_with_images_and_whole_codes(run, tmp_path, pictures):
    run("codes", "truncate", tmp_path / "codes.h5", "--bits", 32, "-o", tmp_path / "short.h5")
    run("index", "build", tmp_path / "short.h5", "-o", tmp_path / "short.index")
    image = sorted(pictures.rglob("*.png"))[0]
    for query in (image, tmp_path / "codes.h5", tmp_path / "short.h5"):
        for order in ((), ("--rerank", "asymmetric")) if query == image else ((),):
            done = run("query", tmp_path / "short.index", query, "--json", "-k", 1, *order)
            assert '"distance": 0' in done.stdout
    long, short = (transhash.read_codes(tmp_path / name) for name in ("codes.h5", "short.h5"))
    np.testing.assert_array_equal(long.packed[:, :4], short.packed)


@pytest.mark.slow
def test_whole_codes_are_not_added_and_other_lengths_need_force(run, tmp_path):
    codes, short = tmp_path / "codes.h5", tmp_path / "short.h5"
    run("codes", "truncate", codes, "--bits", 32, "-o", short)
    run("index", "build", short, "-o", tmp_path / "short.index")
    with pytest.raises(TransHashError, match="cannot be compared"):
        run("index", "add", tmp_path / "short.index", codes)
    with pytest.raises(TransHashError, match="trained for 16, 32 and 64"):
        run("codes", "truncate", codes, "--bits", 24, "-o", short)
    run("codes", "truncate", codes, "--bits", 24, "-o", short, "--force")
    assert transhash.read_codes(short).model.bits == 24
