"""Queries: encode them with the model of the searched index, and re-rank its matches."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..codes import Codes, ModelRef
from ..codes.arithmetic import is_fast
from ..codes.models import check_query_model
from ..codes.queries import Queries, coded_queries
from ..encoding import run
from ..encoding.job import loaded_hasher
from ..encoding.outputs import encode_with_outputs
from ..errors import ModelError, SelectionError
from ..hashers import check_stored, load_hasher, names
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
        queries: codes, packed codes (q, bits/8) uint8, a codes file, or anything that
            `transhash.sources.open_source` takes.
        model: the model of the index.
        hasher: encodes images instead of the hasher that the index names: a hasher, its name or its file.
        order: the re-ranking order, or None.

    Raises TypeError for queries of another type; MismatchError if they are of another model or shape; ModelError if
    the hasher is not where the index says, or has nothing to re-rank by; SourceError if no image could be read.
    """
    if hasher is not None and not isinstance(hasher, str | Path):
        loaded_hasher(hasher, None)
    if (coded := coded_queries(queries, model, order)) is not None:
        return coded
    images = open_source(queries)
    loaded = _hasher(hasher, images.count(), model, order, _taken(queries, model))
    if order == "asymmetric":
        codes, outputs = encode_with_outputs(images, loaded)
        return Queries.of(_as_named(codes), model, outputs[:, : model.bits])
    codes = run.encode(images, loaded, embeddings=order is not None)
    return Queries.of(_as_named(codes), model, codes.embeddings)


def _taken(queries: Any, model: ModelRef) -> str:
    """Return a note for an error: queries in memory, which may be meant as codes, were taken for images."""
    first = queries[0] if isinstance(queries, list | tuple) and queries else queries
    if not (isinstance(first, bytes) or hasattr(first, "ndim")):
        return ""
    return f" (the queries were taken for images; packed codes are one array (q, {model.bits // 8}) uint8)"


def _hasher(
    hasher: Hasher | str | Path | None, images: int | None, model: ModelRef, order: str | None, note: str
) -> Hasher:
    """Return the hasher that encodes the expected number of query images; `note` is for the error if it is missing.

    Raises ModelError.
    """
    if hasher is not None and not isinstance(hasher, str | Path):
        found = hasher
    else:
        name = str(hasher or model.name)
        if hasher is None:
            check_stored(name)
        try:
            found = load_hasher(name, images, fast=is_fast(model))
        except ModelError as error:
            if hasher is not None or os.path.exists(name) or name in names():
                raise
            hint = "the index's hasher was not found; pass its file: --model FILE, or hasher=" + note
            raise ModelError(f"{display(name)}: {hint}") from error
    check_query_model(found.ref, model, "the index")
    if order and not isinstance(found, _NEEDED[order]):
        raise ModelError(f"{display(found.ref.name)} has no outputs or embeddings to re-rank by")
    return found


def _as_named(codes: Codes) -> Codes:
    """Return codes of images below the working directory with relative paths, as the caller named them."""
    if codes.records.root != os.getcwdb():
        return codes
    return replace(codes, records=replace(codes.records, root=b""))
