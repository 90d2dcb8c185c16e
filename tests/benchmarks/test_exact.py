"""The suite of exact index types."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.exact import _grown, _neighbours
from transhash import Codes, ModelRef, write_codes
from transhash.codes import Records


def written(path, count):
    packed = np.random.default_rng(0).integers(0, 256, (count, 8), dtype=np.uint8)
    zeros = np.zeros(count, np.int64)
    records = Records([b"%d.png" % row for row in range(count)], b"/photos", None, (), zeros, zeros)
    write_codes(path, Codes(packed, records, ModelRef("phash", "", 64)))
    return packed


@pytest.mark.parametrize(("options", "data"), [([], ["clustered", "uniform"]), (["--grow", "codes.h5"], ["grown"])])
def test_both_types_are_timed_on_every_collection(options, data, invoke, tmp_path, monkeypatch):
    written(tmp_path / "codes.h5", 400)
    monkeypatch.chdir(tmp_path)
    done = invoke("exact", "-n", 3000, "--rounds", 1, "--singles", 2, "--radius", 8, *options)
    assert done.exit_code == 0, done.output
    rows = [line.strip("| ").split(" | ") for line in done.output.splitlines() if line.startswith("| 3,000")]
    assert [row[2] for row in rows] == [name for name in data for _ in range(4)]
    assert {row[3] for row in rows} == {"k = 10", "radius 8"}
    assert all(float(row[7]) >= 0 for row in rows)


def test_grown_codes_begin_with_the_real_ones():
    real = np.random.default_rng(1).integers(0, 256, (400, 8), dtype=np.uint8)
    codes, queries = _grown(real, 1000)
    assert codes.shape == (1000, 8)
    assert queries.shape == (256, 8)
    first = np.concatenate([queries, codes[: 400 - 256]])
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(real, axis=0))
    assert len(np.unique(codes, axis=0)) > 970  # of few real codes, one is sometimes drawn twice, and gives a copy


@given(st.integers(0, 2**32 - 1), st.integers(11, 60), st.sampled_from([1, 2, 255]))
def test_no_code_is_its_own_neighbour(seed, count, values):
    codes = np.random.default_rng(seed).integers(0, values, (count, 2), dtype=np.uint8)  # 1: all are equal
    near = _neighbours(codes)
    distances = np.bitwise_count(codes[:, None] ^ codes).sum(2, dtype=int)
    for row, own in enumerate(near):
        others = np.delete(np.arange(count), row)
        expected = others[np.argsort(distances[row, others], kind="stable")][:10]
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize(
    ("count", "options", "code", "message"),
    [
        (266, [], 1, "codes.h5: 266 codes; --grow needs at least 267: 256 queries, and a code with 10 neighbours"),
        (400, ["-n", 143], 1, "codes.h5: 400 codes, of which 256 are queries; pass -n 144 or more"),
        (300, ["--bits", 64], 2, "--bits has no effect with --grow"),
        (300, ["--data", "uniform"], 2, "--data has no effect with --grow"),
        (300, ["--radius", 65], 2, "--radius 65: more than the 64 bits of a code"),
    ],
)
def test_what_cannot_be_grown_is_one_line(count, options, code, message, invoke, tmp_path):
    written(tmp_path / "codes.h5", count)
    done = invoke("exact", "--grow", tmp_path / "codes.h5", *options)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert message in done.stderr.splitlines()[-1]
