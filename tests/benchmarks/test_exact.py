"""The suite of exact index types."""

import numpy as np
import pytest

from benchmarks.exact import _grown
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
