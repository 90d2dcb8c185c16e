import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transhash.codes import Codes, ModelRef, Records
from transhash.errors import MismatchError
from transhash.evaluation import embeddings
from transhash.evaluation.average_precision import average_precision
from transhash.evaluation.embeddings import embedding_levels

MODEL = ModelRef("m", "d", 16)


def codes(rng, count, classes, dim=8):
    vectors = rng.standard_normal((count, dim)).astype(np.float16)
    labels = rng.integers(-1, classes, count).astype(np.int32)
    names = tuple(f"{label}" for label in range(classes))
    paths = [b"%d" % row for row in range(count)]
    packed = rng.integers(0, 256, (count, 2), dtype=np.uint8)
    return Codes(packed, Records(paths, b"", labels, names), MODEL, (), vectors)


@pytest.mark.slow
@given(st.integers(1, 20), st.integers(1, 60), st.integers(1, 4), st.integers(0, 9))
def test_ranking_equals_a_full_sort(queries, count, classes, seed):
    rng = np.random.default_rng(seed)
    asked, stored = codes(rng, queries, classes), codes(rng, count, classes)
    asked.records.labels[0] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "_CELLS", 3 * count)
        patch.setattr(embeddings, "_ROWS", 7)
        found = np.concatenate([average_precision(levels) for levels in embedding_levels(asked, stored)])
    scores = asked.embeddings.astype(np.float32) @ stored.embeddings.astype(np.float32).T
    expected = []
    for label, own in zip(asked.records.labels, scores, strict=True):
        hits = (stored.records.labels == label)[np.argsort(-own)] & (label >= 0)
        precision = np.cumsum(hits) / np.arange(1, count + 1)
        expected.append(precision[hits].mean() if hits.any() else 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_missing_embeddings_and_other_models_are_rejected():
    rng = np.random.default_rng(0)
    asked, stored = codes(rng, 3, 2), codes(rng, 5, 2)
    bare = Codes(stored.packed, stored.records, MODEL)
    with pytest.raises(MismatchError, match="embeddings are missing"):
        next(embedding_levels(asked, bare))
    other = Codes(stored.packed, stored.records, ModelRef("n", "e", 16), (), stored.embeddings)
    with pytest.raises(MismatchError, match="queries"):
        next(embedding_levels(asked, other))
