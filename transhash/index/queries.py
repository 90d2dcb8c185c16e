"""Queries: encode them with the model of the searched index, and re-rank its matches.

A query is packed codes, a codes file, or an image in any form that `transhash.sources.open_source` takes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes, ModelRef, is_codes_file, read_codes
from ..codes.models import check_query_model, packed_queries
from ..encoding import run
from ..encoding.job import loaded_hasher
from ..errors import MismatchError, ModelError, SelectionError
from ..hashers import check_stored, load_hasher
from ..hashers.base import EmbeddingHasher, Hasher, OutputHasher
from ..results import Nearest
from ..sources import open_source
from ..system.files import display
from . import rerank

if TYPE_CHECKING:
    from .local import LocalIndex

_NEEDED: dict[str, type] = {"asymmetric": OutputHasher, "embeddings": EmbeddingHasher}

ORDERS = tuple(_NEEDED)
"""The re-ranking orders."""

_TAKEN = (
    "Codes, packed codes (q, bits/8) uint8, the path of a codes file, or images: paths, PIL images, arrays (H, W, 3) "
    "uint8, bytes, or a list of these"
)


@dataclass(frozen=True, eq=False)
class Queries:
    """Encoded queries.

    Attributes:
        packed: (q, bits/8) uint8.
        names: the path of each query, or its position if it has none.
        skipped: (path, reason) of each query image that could not be read.
        values: the values that re-ranking compares, (q, d) floating; None without re-ranking.
    """

    packed: NDArray[np.uint8]
    names: Sequence[str]
    skipped: Sequence[tuple[str, str]] = ()
    values: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True)
class Reranking:
    """How to re-rank the nearest codes.

    Attributes:
        order: ``"asymmetric"``, by the query's outputs before they become bits; or ``"embeddings"``.
        candidates: number of nearest codes to re-rank.
        embeddings: the codes file with the embeddings of the indexed images, for ``"embeddings"``.
    """

    order: str
    candidates: int
    embeddings: Path | None

    @classmethod
    def of(
        cls, order: str | None, candidates: int | None, embeddings: str | Path | None, k: int, radius: int | None
    ) -> "Reranking | None":
        """Check the options of a search and return them, or None without re-ranking.

        Raises SelectionError if they contradict each other.
        """
        if order is None:
            if candidates is not None or embeddings is not None:
                raise SelectionError("candidates and embeddings apply to re-ranking: also pass rerank=")
            return None
        if order not in ORDERS:
            raise SelectionError(f"{order!r:.60}: choose one of {', '.join(ORDERS)} to re-rank by")
        if radius is not None:
            raise SelectionError("a radius cannot be combined with re-ranking, which reorders the k nearest codes")
        if (order == "embeddings") != (embeddings is not None):
            raise SelectionError(
                'rerank="embeddings" needs embeddings=FILE, a codes file with embeddings; '
                "other values of rerank do not take it"
            )
        wanted = rerank.candidates(k) if candidates is None else candidates
        return cls(order, max(k, wanted), None if embeddings is None else Path(embeddings))

    def rank(self, index: "LocalIndex", found: Nearest, queries: Queries) -> rerank.ScoredNearest:
        """Return the candidates in their new order, with scores."""
        assert queries.values is not None
        if self.embeddings:
            return rerank.by_embeddings(index, found, queries.values, self.embeddings)
        return rerank.by_outputs(index, found, queries.values)


def encode(
    queries: Any, model: ModelRef, hasher: Hasher | str | Path | None = None, order: str | None = None
) -> Queries:
    """Return queries as packed codes of a model.

    Args:
        queries: codes, packed codes (q, bits/8) uint8, a codes file, or images.
        model: the model of the index.
        hasher: encodes images instead of the hasher that the index names: a hasher, its name or its file.
        order: the re-ranking order, or None.

    Raises TypeError for queries of another type; MismatchError if they are of another model or shape; ModelError if
    the hasher is not where the index says, or has nothing to re-rank by; SourceError if no image could be read.
    """
    if hasher is not None and not isinstance(hasher, str | Path):
        loaded_hasher(hasher, None)
    if isinstance(queries, np.ndarray) and queries.ndim < 3:
        if order:
            raise MismatchError("packed codes cannot be re-ranked: search with images")
        packed = packed_queries(_packed(queries, model), model, "the index")
        return Queries(packed, [str(place) for place in range(len(packed))])
    file = _codes_file(queries)
    if file or isinstance(queries, Codes):
        codes = read_codes(file, embeddings=order is not None) if file else queries
        if order == "asymmetric":
            raise MismatchError("codes have no real-valued outputs: re-rank by embeddings, or search with images")
        if order and codes.embeddings is None:
            raise MismatchError(
                f"{file or 'the codes'}: no embeddings in it; encode with --embeddings (embeddings=True)"
            )
        return _described(codes, model, codes.embeddings if order else None)
    return _encoded(queries, _hasher(queries, model, hasher, order), model, order)


def _codes_file(queries: Any) -> Path | None:
    """Return the path of the codes file that the queries are in, or None for anything else."""
    if isinstance(queries, Sequence) and not isinstance(queries, str | bytes) and len(queries) == 1:
        queries = queries[0]
    if isinstance(queries, str | os.PathLike) and os.path.isfile(queries) and is_codes_file(Path(queries)):
        return Path(queries)
    return None


def _hasher(queries: Any, model: ModelRef, hasher: Hasher | str | Path | None, order: str | None) -> Hasher:
    """Return the hasher that encodes the query images. Raises ModelError."""
    if queries is None or isinstance(queries, int | float | complex | dict | set):
        raise TypeError(f"queries must be {_TAKEN}, not {type(queries).__name__}")
    if hasher is not None and not isinstance(hasher, str | Path):
        found = hasher
    else:
        name = str(hasher or model.name)
        if hasher is None:
            check_stored(name)
        try:
            found = load_hasher(name, _count(queries))
        except ModelError as error:
            if hasher is not None or os.path.exists(name):
                raise
            hint = "the index's hasher is not there; pass its file: --model FILE, or hasher="
            raise ModelError(f"{display(name)}: {hint}") from error
    check_query_model(found.ref, model, "the index")
    if order and not isinstance(found, _NEEDED[order]):
        raise ModelError(f"{display(found.ref.name)} has no outputs or embeddings to re-rank by")
    return found


def _packed(queries: NDArray[Any], model: ModelRef) -> NDArray[Any]:
    """Return a 2-dimensional array as it is. Raises MismatchError if it can only be a grey image."""
    if queries.dtype == np.uint8 and queries.ndim == 2 and queries.shape[1] * 8 != model.bits:
        raise MismatchError(
            f"an array {queries.shape} is not packed codes of the index, which are (q, {model.bits // 8}); "
            "pass a grey image as [array]"
        )
    return queries


def _count(queries: Any) -> int | None:
    """Return the number of query images, or None if it is unknown."""
    if isinstance(queries, str | os.PathLike):
        return 1 if os.path.isfile(queries) else None
    if isinstance(queries, list | tuple):
        return (
            None
            if any(isinstance(one, str | os.PathLike) and os.path.isdir(one) for one in queries)
            else len(queries)
        )
    return 1


def _encoded(images: Any, hasher: Hasher, model: ModelRef, order: str | None) -> Queries:
    source = open_source(images)
    if order == "asymmetric":
        codes, outputs = rerank.encode(source, hasher)
        return _described(_as_named(codes), model, outputs[:, : model.bits])
    codes = run.encode(source, hasher, embeddings=order is not None)
    return _described(_as_named(codes), model, codes.embeddings)


def _as_named(codes: Codes) -> Codes:
    """Return codes of images below the working directory with relative paths, as the caller named them."""
    if codes.records.root != os.getcwdb():
        return codes
    return replace(codes, records=replace(codes.records, root=b""))


def _described(codes: Codes, model: ModelRef, values: NDArray[np.floating[Any]] | None) -> Queries:
    names = [codes.records.path(row) for row in range(len(codes))]
    skipped = [(os.fsdecode(path), reason) for path, reason in codes.skipped]
    return Queries(packed_queries(codes, model, "the index"), names, skipped, values)
