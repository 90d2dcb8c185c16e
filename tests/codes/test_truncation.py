"""Codes truncated to their first bits, and the codes that they may be compared with."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transhash
from transhash.codes import (
    Codes,
    CodesWriter,
    ModelRef,
    Records,
    check_same_model,
    truncate,
    truncate_codes,
    write_codes,
)
from transhash.errors import CodesError, MismatchError, OutputError
from transhash.index.index import Index

from .rows import MOST, WIDTH, append, rows

NESTED = ModelRef("h.safetensors", "abc", 64, json.dumps({"size": 32, "nested": [16, 32, 64]}))


def made(packed, model=NESTED):
    names = [b"%03d.jpg" % number for number in range(len(packed))]
    return Codes(packed, Records(names, b"/photos"), model, [(b"broken.jpg", "no image")])


def test_files_of_two_lengths_are_not_merged(tmp_path):
    whole = made(np.zeros((2, 8), np.uint8))
    write_codes(tmp_path / "whole.h5", whole.take(slice(0, 1)))
    write_codes(tmp_path / "short.h5", truncate(whole.take(slice(1, 2)), 16))
    with pytest.raises(CodesError, match=r"64 bits, .*short.h5 16: cut both to 16 bits"):
        transhash.merge_codes([tmp_path / "whole.h5", tmp_path / "short.h5"], tmp_path / "both.h5")


@given(st.integers(0, 40), st.integers(1, 7), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_bits_of_short_codes_are_the_first(count, width, seed):
    packed = np.random.default_rng(seed).integers(0, 256, (count, 8), dtype=np.uint8)
    short = truncate(made(packed), 8 * width, force=True)
    expected = np.unpackbits(packed, axis=1)[:, : 8 * width]
    np.testing.assert_array_equal(np.unpackbits(short.packed, axis=1), expected)
    assert short.packed.flags.c_contiguous
    assert (short.model.bits, short.model.digest) == (8 * width, f"abc/{8 * width}")
    assert list(short.records.paths) == [b"%03d.jpg" % number for number in range(count)]


@pytest.mark.slow
@given(st.lists(rows, max_size=12))
@settings(deadline=None, max_examples=10)
def test_a_file_keeps_all_but_the_last_bits(tmp_path_factory, some):
    folder = tmp_path_factory.mktemp("cut")
    with CodesWriter.create(
        folder / "long.h5", NESTED, b"/photos", labels=MOST, embeddings=WIDTH, stats=True
    ) as writer:
        append(writer, some)
        writer.skip(b"broken.jpg", "no image")
    with pytest.raises(OutputError, match="to keep the longer codes"):
        truncate_codes(folder / "long.h5", 32, folder / "long.h5")
    assert truncate_codes(folder / "long.h5", 32, folder / "short.h5") == len(some)
    long, short = (transhash.read_codes(folder / name, embeddings=True) for name in ("long.h5", "short.h5"))
    write_codes(folder / "expected.h5", truncate(long, 32))
    expected = transhash.read_codes(folder / "expected.h5", embeddings=True)
    assert short.model == expected.model
    assert list(short.skipped) == [(b"broken.jpg", "no image")]
    np.testing.assert_array_equal(short.packed, long.packed[:, :4])
    np.testing.assert_array_equal(short.embeddings, expected.embeddings)
    np.testing.assert_array_equal(short.records.mtimes, expected.records.mtimes)
    assert [short.records.names(row) for row in range(len(some))] == [
        long.records.names(row) for row in range(len(some))
    ]


def test_cutting_twice_is_cutting_once():
    codes = made(np.arange(16, dtype=np.uint8).reshape(2, 8))
    once, twice = truncate(codes, 16), truncate(truncate(codes, 32), 16)
    assert once.model == twice.model
    assert truncate(codes, 64).model == NESTED


@pytest.mark.parametrize("bits", [8, 24, 48])
def test_a_length_that_was_not_trained_needs_force(bits):
    codes = made(np.zeros((1, 8), np.uint8))
    with pytest.raises(CodesError, match=rf"{bits} bits: h.safetensors was trained for 16, 32 and 64.*--force"):
        truncate(codes, bits)
    assert truncate(codes, bits, force=True).model.bits == bits


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"nested": 5}', '{"nested": ["x"]}', "no JSON"])
def test_a_model_without_nested_codes(said):
    codes = made(np.zeros((1, 8), np.uint8), replace(NESTED, preprocessing=said))
    with pytest.raises(CodesError, match="trained for 64 only"):
        truncate(codes, 32)


@pytest.mark.parametrize("bits", [0, -8, 12, 72])
def test_a_length_that_no_code_has(bits):
    with pytest.raises(CodesError, match="must be a multiple of 8, from 8 to the 64"):
        truncate(made(np.zeros((1, 8), np.uint8)), bits, force=True)


def test_lengths_do_not_mix_but_whole_queries_fit():
    packed = np.random.default_rng(0).integers(0, 256, (50, 8), dtype=np.uint8)
    whole = made(packed)
    short = truncate(whole, 32)
    index = Index.build(short, "exact")
    found, expected = index.search(whole, 5), index.search(short, 5)
    np.testing.assert_array_equal(found.ids, expected.ids)
    with pytest.raises(MismatchError, match="cannot be compared"):
        index.search(truncate(whole, 16), 5)
    with pytest.raises(MismatchError, match=r"cannot be compared; cut both to 32 bits \(transhash.truncate"):
        Index.build(whole, "exact").search(short, 5)
    with pytest.raises(MismatchError, match="cannot be compared"):
        index.search(replace(whole, model=replace(NESTED, digest="other")), 5)
    with pytest.raises(MismatchError, match="cannot be compared"):
        check_same_model(whole.model, short.model, "codes", "index")
