"""The ranking by cosine similarity of float embeddings, with which codes are compared."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes
from ..codes.models import check_same_model
from ..errors import MismatchError
from .levels import Levels, score_levels
from .relevance import common_labels

_CELLS = 1 << 22  # scores in memory at a time
_ROWS = 1 << 14  # embeddings converted to float32 at a time


def embedding_levels(queries: Codes, database: Codes) -> Iterator[Levels]:
    """Yield the levels of consecutive blocks of queries, ranked by the inner product of unit-length embeddings.

    Raises MismatchError as `hamming_levels` does, or if a side has no embeddings.
    """
    check_same_model(queries.model, database.model, "queries", "database")
    if queries.embeddings is None or database.embeddings is None:
        raise MismatchError("embeddings are missing; encode both sides again, with --embeddings (embeddings=True)")
    query_labels, labels = common_labels(queries.records, database.records)
    size = max(1, _CELLS // max(1, len(database)))
    for start in range(0, len(queries), size):
        vectors = queries.embeddings[start : start + size].astype(np.float32)
        yield score_levels(_scores(vectors, database.embeddings), query_labels[start : start + size], labels)


def _scores(vectors: NDArray[np.float32], embeddings: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return inner products (q, n) without a float32 copy of all embeddings."""
    scores = np.empty((len(vectors), len(embeddings)), np.float32)
    for start in range(0, len(embeddings), _ROWS):
        np.matmul(
            vectors, embeddings[start : start + _ROWS].astype(np.float32).T, out=scores[:, start : start + _ROWS]
        )
    return scores
