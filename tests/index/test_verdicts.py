"""Verdicts on distances: copy, likely, unrelated."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import transhash
from transhash import Codes
from transhash.codes import Records, StringTable
from transhash.duplicates import default_radius
from transhash.hashers import model_ref, rarity_of
from transhash.hashers.rarity import Rarity
from transhash.index.verdicts import VERDICTS, Verdicts

MODEL = model_ref("copy", 128)


def flipped(code, bits):
    """A code that differs in the first `bits` bits."""
    return code ^ np.packbits(np.arange(128) < bits)


def codes_at(*distances, model=MODEL):
    """Codes at the given distances from the zero code, named after their distance."""
    packed = np.stack([flipped(np.zeros(16, np.uint8), distance) for distance in distances])
    paths = StringTable.of([f"{distance}.png".encode() for distance in distances])
    return Codes(packed, Records(paths, b"/photos"), model)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_larger_collection_is_stricter(one, other):
    small, large = (Verdicts.of(Rarity(128, 36, 20, 4), count) for count in sorted((one, other)))
    assert large.copy <= small.copy <= 20
    assert large.likely <= small.likely <= 30
    assert large.copy <= large.likely
    said = [small.verdict(distance) for distance in range(129)]
    assert said == sorted(said, key=VERDICTS.index)


def test_without_k_and_radius_unrelated_images_are_left_out():
    codes = codes_at(0, 10, 30, 60, 64)
    index = transhash.build_index(codes)
    verdicts = index.verdicts
    assert verdicts == Verdicts.of(rarity_of(MODEL), 5)
    found = index.search(np.zeros((1, 16), np.uint8))[0]
    assert [(match.distance, match.verdict) for match in found] == [(0, "copy"), (10, "copy"), (30, "likely")]
    every = index.search(np.zeros((1, 16), np.uint8), k=5)
    assert [match.verdict for match in every[0]][3:] == ["unrelated", "unrelated"]
    assert len(index.search(np.zeros((1, 16), np.uint8), radius=60)[0]) == 4
    assert every.to_pandas()["verdict"].tolist()[2:4] == ["likely", "unrelated"] if pandas() else True


def pandas():
    try:
        import pandas
    except ImportError:
        return None
    return pandas


def test_other_models_have_no_verdicts():
    model = transhash.codes.ModelRef("phash", "phash-dct-64", 64)
    codes = codes_at(0, 60, model=MODEL)
    plain = Codes(np.ascontiguousarray(codes.packed[:, :8]), codes.records, model)
    index = transhash.build_index(plain)
    assert index.verdicts is None
    found = index.search(np.zeros((1, 8), np.uint8))
    assert [match.verdict for match in found[0]] == [None, None]
    assert found.radius is None


@pytest.mark.parametrize("name", ["/nowhere/h.safetensors", "no\0name", "x" * 5000])
def test_a_model_that_is_not_there_has_no_verdicts(name):
    assert rarity_of(transhash.codes.ModelRef(name, "0" * 64, 64)) is None


def test_another_file_under_the_name_says_nothing():
    assert rarity_of(transhash.codes.ModelRef("copy", "0" * 64 + "/128", 128)) is None


def test_the_default_radius_of_dedup_follows_the_collection():
    rarity = rarity_of(MODEL)
    assert default_radius(MODEL, 10) == rarity.million
    assert default_radius(MODEL, 100_000) < default_radius(MODEL, 10_000) < rarity.million
    found = transhash.dedup(codes_at(0, 10, 60), radius=30)
    assert found.radius == 30
    assert transhash.dedup(codes_at(0, 10, 60)).radius == rarity.million


def test_the_command_says_which_matches_are_copies(th_inside, tmp_path):
    transhash.build_index(codes_at(0, 30, 60), tmp_path / "i.index")
    transhash.write_codes(tmp_path / "near.h5", codes_at(0))
    transhash.write_codes(tmp_path / "far.h5", codes_at(128))
    ask = ("query", tmp_path / "i.index")
    table = th_inside(*ask, tmp_path / "near.h5").stdout
    assert "verdict" in table
    assert "likely" in table
    assert "60.png" not in table
    assert "no copy: no image is within 30 bits" in th_inside(*ask, tmp_path / "far.h5").stdout
    document = json.loads(th_inside(*ask, tmp_path / "near.h5", "-k", 3, "--json").stdout)
    assert [match["verdict"] for match in document["queries"][0]["matches"]] == ["copy", "likely", "unrelated"]
    assert (document["k"], document["radius"]) == (3, None)
    rows = list(csv.DictReader(io.StringIO(th_inside(*ask, tmp_path / "near.h5", "--csv").stdout)))
    assert [row["verdict"] for row in rows] == ["copy", "likely"]
