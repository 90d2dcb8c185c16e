"""Re-rank the nearest codes of a search by a finer score.

    codes, outputs = encode_with_outputs(["cat.jpg"], hasher)
    found = index.search(codes, 100)
    matches = rerank.by_outputs(index, found, outputs).first(10)

A bit says on which side of a plane an image lies, but not how far from it. For the query, the distance is known: the
*asymmetric* score weights each bit by the query's output for it (Gordo, Perronnin, Gong & Lazebnik, *Asymmetric
Distances for Binary Embeddings*, TPAMI 2014), and needs no additional storage. If embeddings were stored beside the
codes, their *cosine* compares the real values of both sides.

Equal scores are ordered by (distance, id). Equal codes get equal scores, to the last bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..codes.models import check_same_model
from ..codes.vectors import MISSING, open_vectors
from ..errors import MismatchError
from ..packing import unpack
from ..results import NO_ID, Nearest
from ..system.files import display

if TYPE_CHECKING:
    from .local import LocalIndex

_HELD = 1 << 28  # bytes of embeddings in memory at a time
# The signs of the bits of each byte value, (256, 8).
_BYTES = unpack(np.arange(256, dtype=np.uint8)[:, None]).astype(np.float64)

Scores = NDArray[np.float64]


@dataclass(eq=False, slots=True)
class ScoredNearest(Nearest):
    """The matches of each query, ordered by (score, highest first; distance; id).

    Attributes:
        scores: (q, k) float64, from -1 to 1; -inf where the id is -1.
    """

    scores: Scores

    def first(self, k: int) -> "ScoredNearest":
        """Return the first `k` of each query."""
        return ScoredNearest(self.ids[:, :k], self.distances[:, :k], self.scores[:, :k])


def candidates(k: int) -> int:
    """Return the number of nearest codes to re-rank for the best `k`: ten times `k`, at least 100."""
    return max(10 * k, 100)


def asymmetric(found: Nearest, outputs: NDArray[np.floating], codes: NDArray[np.uint8]) -> ScoredNearest:
    """Order matches by the agreement of the query's outputs with the stored bits.

    The score is Σ u_j b_j / Σ |u_j| over the bits, where u are the outputs and b = ±1: 1 for the query's own code.

    Args:
        found: matches, whose ids are rows of `codes`.
        outputs: outputs of the queries, (q, bits).
        codes: (n, bits/8) uint8.

    Raises MismatchError if the shapes do not fit, or an output is not finite.
    """
    _check(found, outputs, codes.shape[1] * 8)
    return _ordered(found, lambda query, rows: asymmetric_scores(outputs[query], codes[rows]))


def asymmetric_scores(output: NDArray[np.floating], codes: NDArray[np.uint8]) -> Scores:
    """Return the asymmetric scores (n,) of a query's outputs (bits,) and codes (n, bits/8) uint8."""
    wide = output.astype(np.float64)
    table = wide.reshape(-1, 8) @ _BYTES.T  # the contribution of each byte of a code, for its 256 values
    scores = np.zeros(len(codes))
    for place in range(codes.shape[1]):  # always the same order of summation, so that equal codes get equal scores
        scores += table[place, codes[:, place]]
    return scores / max(float(np.abs(wide).sum()), np.finfo(np.float64).tiny)


def cosine(found: Nearest, queries: NDArray[np.floating], embeddings: NDArray[np.floating]) -> ScoredNearest:
    """Order matches by the cosine of float embeddings.

    Args:
        found: matches, whose ids are rows of `embeddings`.
        queries: embeddings of the queries, (q, d).
        embeddings: (n, d).

    Raises MismatchError if the shapes do not fit, or an embedding is not finite.
    """
    _check(found, queries, embeddings.shape[1])
    return _ordered(found, lambda query, rows: cosine_scores(queries[query], embeddings[rows]))


def cosine_scores(query: NDArray[np.floating], embeddings: NDArray[np.floating]) -> Scores:
    """Return the cosines (n,) of an embedding (d,) and others (n, d).

    Raises MismatchError if an embedding is not finite.
    """
    if not (np.isfinite(query).all() and np.isfinite(embeddings).all()):
        raise MismatchError("an embedding holds NaN or infinity; encode the images again")
    return (_unit(embeddings) * _unit(query[None])).sum(axis=1, dtype=np.float64)


def by_outputs(index: "LocalIndex", found: Nearest, outputs: NDArray[np.floating]) -> ScoredNearest:
    """Order the matches of `LocalIndex.search` by the queries' outputs (q, bits); codes are read from the index.

    Raises BackendError if the index type does not keep its codes, and the errors of `asymmetric`.
    """
    ids = _ids(found)
    codes = index.packed(ids)
    return _named(asymmetric(_numbered(found, ids), outputs, codes), ids)


def by_embeddings(
    index: "LocalIndex", found: Nearest, queries: NDArray[np.floating], embeddings: str | Path
) -> ScoredNearest:
    """Order the matches of `LocalIndex.search` by the queries' embeddings (q, d) and those in a codes file.

    Images are found in the file by their paths, which is fastest if the index was built from it. Each call opens the
    file again.

    Raises CodesError if there is no such file, or it is damaged or holds no embeddings; MismatchError if it is of
    another model than the index, lacks one of the images, or its embeddings are of another width.
    """
    ids = _ids(found)
    rows = index.ids.rows(ids)
    chosen = np.zeros(len(index), np.bool_)
    chosen[rows] = True
    names = list(index.records.take(chosen).full_paths())
    with open_vectors(embeddings, names, rows.tolist()) as stored:
        check_same_model(stored.model, index.model, f"{embeddings}", "the index")
        missing = np.flatnonzero(stored.rows == MISSING)
        if len(missing):
            raise MismatchError(
                f"{embeddings}: has no row for {len(missing)} of {len(ids)} candidates, "
                f"{display(names[missing[0]])} for one; "
                "encode what is in the index, with --embeddings (embeddings=True)"
            )
        step = max(1, _HELD // max(1, queries.itemsize * queries.shape[1] * found.ids.shape[1]))
        parts = []
        for start in range(0, max(1, len(found)), step):
            block = Nearest(found.ids[start : start + step], found.distances[start : start + step])
            block_ids = _ids(block)
            vectors = stored.read(np.searchsorted(ids, block_ids))
            scored = cosine(_numbered(block, block_ids), queries[start : start + step], vectors)
            parts.append(_named(scored, block_ids))
    return ScoredNearest(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.distances for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _ordered(found: Nearest, score: Callable[[int, NDArray[np.int64]], Scores]) -> ScoredNearest:
    """Order matches by `score`, which takes the position of a query and rows (m,)."""
    scores = np.full(found.ids.shape, -np.inf)
    for query, ids in enumerate(found.ids):
        filled = ids != NO_ID
        scores[query, filled] = score(query, ids[filled])
    order = np.lexsort((found.ids, found.distances, -scores), axis=1)
    return ScoredNearest(*(np.take_along_axis(part, order, 1) for part in (found.ids, found.distances, scores)))


def _check(found: Nearest, queries: NDArray[np.floating], width: int) -> None:
    if queries.shape != (len(found), width):
        raise MismatchError(f"values of the queries have shape {queries.shape}: expected ({len(found)}, {width})")
    if not np.isfinite(queries).all():
        raise MismatchError("an output or embedding of a query is NaN or infinite: train the hasher again")


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    wide = vectors.astype(np.float32)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(1e-12)


def _ids(found: Nearest) -> NDArray[np.int64]:
    """Return the distinct ids of all matches, ascending."""
    ids = np.unique(found.ids)
    return ids[ids != NO_ID]


def _numbered(found: Nearest, ids: NDArray[np.int64]) -> Nearest:
    """Replace ids with their positions in the ascending `ids`, which preserves the order."""
    return Nearest(np.where(found.ids == NO_ID, NO_ID, np.searchsorted(ids, found.ids)), found.distances)


def _named(ranked: ScoredNearest, ids: NDArray[np.int64]) -> ScoredNearest:
    """Undo `_numbered`."""
    return ScoredNearest(np.append(ids, NO_ID)[ranked.ids], ranked.distances, ranked.scores)
