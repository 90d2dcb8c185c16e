"""Queries as codes of the searched model, with their names; and queries that are codes already."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError
from ..system.arguments import check_plain
from .models import BYTE, packed_queries
from .reader import is_codes_file, read_codes
from .records import Codes, ModelRef

_TAKEN = (
    "Codes, packed codes (q, bits/8) uint8, the path of a codes file, or images: paths, PIL images, arrays (H, W, 3) "
    "uint8, bytes, or a list of these"
)


@dataclass(eq=False, slots=True)
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

    @classmethod
    def of(cls, codes: Codes, model: ModelRef, values: NDArray[np.floating[Any]] | None = None) -> "Queries":
        """Return codes as queries for `model`, truncated if needed. Raises MismatchError for another model."""
        names = [codes.records.path(row) for row in range(len(codes))]
        skipped = [(os.fsdecode(path), reason) for path, reason in codes.skipped]
        return cls(packed_queries(codes, model, "the index"), names, skipped, values)


def is_packed(queries: Any, model: ModelRef) -> bool:
    """Return whether queries can be searched for as they are: contiguous packed codes of the model's width."""
    return (
        type(queries) is np.ndarray
        and queries.ndim == 2
        and queries.dtype == BYTE
        and queries.shape[1] << 3 == model.bits
        and queries.flags.c_contiguous
    )


def positions(count: int) -> list[str]:
    """Return the names of queries that have none: their positions, from 0."""
    return ["0"] if count == 1 else [*map(str, range(count))]


def coded_queries(queries: Any, model: ModelRef, order: str | None) -> Queries | None:
    """Return queries that are codes, packed codes (q, bits/8) uint8 or the path of a codes file; None for images.

    Raises TypeError for queries that can be neither; MismatchError if they are of another model than `model`, of
    another shape, or lack what the re-ranking `order` compares; CodesError if the file is damaged.
    """
    check_plain("queries", queries)
    if isinstance(queries, np.ndarray) and queries.ndim < 3:
        if order:
            raise MismatchError("packed codes cannot be re-ranked: search with images")
        packed = packed_queries(_not_grey(queries, model), model, "the index")
        return Queries(packed, positions(len(packed)))
    if queries is None or isinstance(queries, int | float | complex | dict | set):
        raise TypeError(f"queries must be {_TAKEN}, not {type(queries).__name__}")
    file = _codes_file(queries)
    if file is None and not isinstance(queries, Codes):
        return None
    codes = read_codes(file, embeddings=order is not None) if file else queries
    if order == "asymmetric":
        raise MismatchError("codes have no real-valued outputs: re-rank by embeddings, or search with images")
    if order and codes.embeddings is None:
        raise MismatchError(f"{file or 'the codes'}: no embeddings in it; encode with --embeddings (embeddings=True)")
    return Queries.of(codes, model, codes.embeddings if order else None)


def _codes_file(queries: Any) -> Path | None:
    """Return the path of the codes file that the queries are in, or None for anything else."""
    if isinstance(queries, Sequence) and not isinstance(queries, str | bytes) and len(queries) == 1:
        queries = queries[0]
    if isinstance(queries, str | os.PathLike) and os.path.isfile(queries) and is_codes_file(Path(queries)):
        return Path(queries)
    return None


def _not_grey(array: NDArray[Any], model: ModelRef) -> NDArray[Any]:
    """Return a 2-dimensional array as it is. Raises MismatchError if it can only be a grey image."""
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] * 8 == model.bits:
        return array
    if array.shape[1] != model.bits or (array > 1).any():  # else these are unpacked bits
        raise MismatchError(
            f"an array {array.shape} is not packed codes of the index, which are (q, {model.bits // 8}); "
            "pass a grey image as [array]"
        )
    return array
