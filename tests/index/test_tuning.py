import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faiss_backend import FaissIndex
from transhash import hamming
from transhash.errors import BackendError
from transhash.index import tuning


def clustered(count, bits=64, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.random((30, bits)) < 0.5
    return np.packbits(centres[rng.integers(0, 30, count)] ^ (rng.random((count, bits)) < 0.12), axis=1)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["ivf", "hnsw", "hash", "multihash"]), st.floats(0.05, 1), st.integers(1, 20))
def test_what_is_chosen_gives_the_recall_and_little_less_does_not(kind, recall, k):
    codes = clustered(700)
    queries, codes = codes[:50], codes[50:]
    index = FaissIndex.build(codes, type=kind, params={"b": 7} if "hash" in kind else {})
    found = tuning.tune(index, queries, recall, k)
    furthest = hamming.top_k(queries, codes, k).distances[:, -1:]
    for trial in found.trials:
        hits = index.search(queries, k, {found.parameter.name: trial.value}).distances <= furthest
        assert trial.recall == pytest.approx(hits.mean())
        assert trial.seconds > 0
    assert [trial.value for trial in found.trials] == sorted({trial.value for trial in found.trials})
    assert found.chosen.recall >= recall
    below = [trial for trial in found.trials if trial.value < found.chosen.value]
    assert not below or max(trial.recall for trial in below) < recall
    nearest = max((trial.value for trial in below), default=found.parameter.low - 1)
    assert found.chosen.value - nearest <= max(1, found.chosen.value // 8)


def test_an_exact_index_has_nothing_to_tune():
    with pytest.raises(BackendError, match="type flat has nothing to tune"):
        tuning.tune(FaissIndex.build(clustered(20)), clustered(5), 0.9, 3)


@pytest.mark.parametrize("count", [1, 5, 500])
def test_a_sample_is_near_to_stored_codes_and_the_same_every_time(count):
    index = FaissIndex.build(clustered(count), type="ivf")
    queries = tuning.sample(index, 40)
    assert queries.shape == (40 if count >= 8 else 5 * count, 8)
    assert (index.search(queries, 1, {"nprobe": 1000}).distances <= 4).all()
    np.testing.assert_array_equal(queries, tuning.sample(index, 40))


@pytest.mark.parametrize("recall", [float("nan"), 0.0, -1.0, 1.5, float("inf")])
def test_a_recall_that_cannot_be_reached_is_refused(recall):
    with pytest.raises(BackendError, match="must be above 0 and at most 1"):
        tuning.tune(FaissIndex.build(clustered(200), type="ivf"), clustered(5), recall, 3)
