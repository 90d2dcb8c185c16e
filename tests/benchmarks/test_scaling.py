"""The scaling suite: sizes and exponents, against numpy."""

import numpy as np
import pytest

from benchmarks import edits
from transhash.report.records import Curve, TableRow, read

pytestmark = pytest.mark.slow

CONFIG = """
counts = [500, 1000, 2000]
bits = [32]
queries = 5
singles = 3
repeats = 2
methods = ["TransHash flat"]
changed = 10
changed_types = []
"""

OTHERS = ["evaluation", "dedup"]


def size(row):
    return int(row.dataset.split()[1].replace(",", ""))


@pytest.fixture(scope="module")
def results(invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling")
    (folder / "own.toml").write_text(CONFIG)
    command = ("scaling", "--config", folder / "own.toml", "-o", folder / "scaling.jsonl")
    assert invoke(*command).exit_code == 0
    before = (folder / "scaling.jsonl").read_bytes()
    done = invoke(*command)
    assert (folder / "scaling.jsonl").read_bytes() == before
    assert done.stderr.count("measured before") == 3
    return folder / "scaling.jsonl"


def test_every_size_has_a_row_of_everything(results):
    rows = [record for record in read(results) if isinstance(record, TableRow) and record.table == "Growth"]
    assert [(size(row), row.method) for row in rows] == [
        (count, method) for count in (500, 1000, 2000) for method in ("TransHash flat", *OTHERS)
    ]
    for row in rows:
        if row.method == "TransHash flat":
            assert row.values["bytes on disk"].value == pytest.approx(4 * size(row), abs=60)


def test_exponents_are_those_of_numpy(results):
    rows = {
        record.method: record for record in read(results) if isinstance(record, TableRow) and record.table != "Growth"
    }
    assert rows.keys() == {"TransHash flat", *OTHERS}
    assert rows["TransHash flat"].values["e of bytes on disk"].value == pytest.approx(1, abs=0.02)
    curves = [record for record in read(results) if isinstance(record, Curve)]
    assert curves
    for curve in curves:
        assert curve.x == "codes"
        x, y = np.log(np.array(curve.points).T)
        (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
        values = rows[curve.method].values
        assert values[f"e of {curve.y}"].value == pytest.approx(slope)
        assert values[f"e of {curve.y}, standard error"].value == pytest.approx(np.sqrt(covariance[0, 0]))


def test_changes_of_an_index_have_costs(tmp_path):
    costs = dict(edits.measured(tmp_path, 500, 32, "flat", 10))
    assert tuple(costs) == edits.CHANGES
    assert min(cost.busy for cost in costs.values()) > 0
    assert min(cost.peak for cost in costs.values()) > 10
