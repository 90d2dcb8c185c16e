import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.errors import MismatchError
from transhash.evaluation import bits, diagnose


@st.composite
def collections(draw):
    """Codes with constant bits, duplicate bits and equal rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width, rows = draw(st.sampled_from([1, 2, 3, 8, 12, 32])), draw(st.integers(1, 50))
    table = rng.random((rows, width * 8)) < rng.random(width * 8) ** 2
    table[:, 1] = ~table[:, 0]
    if draw(st.booleans()):
        table = table[rng.integers(0, rows, rows)]
    return np.packbits(table, axis=1)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(bits, "_ROWS", 16)


@settings(deadline=None)
@given(collections())
def test_against_plain_numpy(codes):
    report = diagnose(codes)
    table = np.unpackbits(codes, axis=1).astype(float)
    share = table.mean(axis=0)
    np.testing.assert_allclose(report.balance, share, atol=1e-12)
    constant = (table == table[0]).all(axis=0)
    assert report.constant_bits == constant.sum()
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")
        correlation = np.abs(np.corrcoef(table.T)) if len(table) > 1 else np.zeros((table.shape[1],) * 2)
        entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    correlation[constant] = correlation[:, constant] = 0
    pairs = correlation[np.triu_indices(len(correlation), 1)]
    assert report.mean_correlation == pytest.approx(pairs.mean(), abs=1e-12)
    assert report.max_correlation == pytest.approx(pairs.max(), abs=1e-12)
    assert report.mean_entropy == pytest.approx(np.where(constant, 0, entropy).mean(), abs=1e-12)
    rows = [row.tobytes() for row in codes]
    assert report.distinct_codes == len(set(rows))
    assert report.largest_bucket == max(map(rows.count, rows))
    assert report.collisions == pytest.approx(np.mean([rows.count(row) > 1 for row in rows]))


def test_correlated_and_independent_bits():
    copies = diagnose(np.array([[0], [255]], dtype=np.uint8))
    assert (copies.mean_correlation, copies.max_correlation, copies.mean_entropy) == (1, 1, 1)
    free = diagnose(np.arange(256, dtype=np.uint8)[:, None])
    assert (free.mean_correlation, free.max_correlation, free.collisions, free.largest_bucket) == (0, 0, 0, 1)


def test_nothing_to_diagnose():
    with pytest.raises(MismatchError, match="no codes"):
        diagnose(np.zeros((0, 8), dtype=np.uint8))
