"""Figures, against numpy."""

import numpy as np
import pytest

from benchmarks.figures import exponent, latencies, share_as_near, spread
from transhash.report.records import Measurement


def test_a_spread_is_a_median_with_its_range():
    assert spread([3.0, 1.0, 2.0]) == Measurement(2.0, 1.0, 3.0)


def test_latencies_are_percentiles_of_each_round():
    rounds = [list(range(100)), list(range(100, 200)), list(range(200, 300))]
    found = latencies(rounds)
    for name, share in (("ms per query", 50), ("ms per query p95", 95), ("ms per query p99", 99)):
        expected = [float(np.percentile(own, share)) for own in rounds]
        assert found[name] == Measurement(expected[1], expected[0], expected[2])


def test_what_is_as_near_counts_whoever_it_is():
    found = np.array([[1, 2, 2], [0, 5, np.inf]])
    assert share_as_near(found, np.array([2, 1])) == 4 / 6


def test_an_exponent_is_that_of_a_line_through_the_logarithms():
    rng = np.random.default_rng(0)
    x = np.array([1e3, 1e4, 1e5, 1e6, 1e7])
    y = 3 * x**1.2 * np.exp(rng.normal(0, 0.1, 5))
    design = np.column_stack([np.ones(5), np.log(x)])
    solved, left = np.linalg.lstsq(design, np.log(y), rcond=None)[:2]
    error = np.sqrt(left[0] / 3 * np.linalg.inv(design.T @ design)[1, 1])
    assert exponent(x.tolist(), y.tolist()) == pytest.approx((solved[1], error))


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 0, 2])])
def test_an_exponent_takes_three_points_above_0(x, y):
    with pytest.raises(ValueError, match="three points"):
        exponent(x, y)
