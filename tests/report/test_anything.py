"""Every valid results file can be rendered."""

import json

import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.report.plots import plots
from transhash.report.records import Curve, Measurement, Run, Skipped, TableRow
from transhash.report.sections import gather
from transhash.report.summary import summarize
from transhash.report.text import markdown

RUN = Run("r", "search", "Search", "python -m benchmarks search", "2026-11-21T13:00:00+00:00")

numbers = st.sampled_from([0.0, 1.0, 64.0, -3.0, 1e-100, 1e100, -1e100, 0.1])  # the limits of `check.number`
words = st.sampled_from(["TransHash", "PQ", "", "10,000 codes", "cifar10"])
names = st.sampled_from(
    [
        "mAP@all",
        "bytes per image",
        "ms per query",
        "ms per query p95",
        "recall@10 by distance",
        "queries/s",
        "P@1",
        "",
        "s",
    ]
)
families = st.sampled_from(["codes", "float", "peer"])
params = st.dictionaries(st.sampled_from(["bits", "codes", "", "k"]), st.sampled_from([64, 64.5, None, "x", True]))
axes = st.sampled_from(["codes", "bit", "recall", "N", "bytes per image", ""])
figures = st.builds(Measurement, numbers, st.none() | numbers, st.none() | numbers)
rows = st.builds(TableRow, st.just("r"), words, words, words, families, params, st.dictionaries(names, figures))
points = st.lists(st.tuples(numbers, numbers), max_size=5)
curves = st.builds(Curve, st.just("r"), words, words, words, families, params, axes, axes, points)
skipped = st.builds(Skipped, st.just("r"), words, words, words)


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(st.lists(rows | curves | skipped, max_size=8))
def test_everything_is_drawn(records):
    sections = gather([RUN, *records])
    assert "nan" not in markdown(sections)
    assert all(summarize(sections).terms)
    for group in plots(sections[0]):
        for plot in group:
            text = json.dumps(plot.spec, allow_nan=False)
            assert "<svg" in vl_convert.vegalite_to_svg(text)
