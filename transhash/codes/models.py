"""Checks that codes come from one model: distances between codes of different models mean nothing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError
from ..system.arguments import check_plain
from .arithmetic import described, mixing
from .records import Codes, ModelRef
from .truncation import cutting, fitting, is_prefix

BYTE = np.dtype(np.uint8)


def packed_queries(queries: Codes | NDArray[np.uint8], model: ModelRef, what: str) -> NDArray[np.uint8]:
    """Return queries as contiguous packed codes (q, bits/8) uint8, after checking that they fit a model.

    Codes of a whole model are cut where the collection holds its shortened codes. `what` names the collection that is
    searched, in error messages.

    Raises MismatchError if the queries are from another model or of another width; TypeError for tensors and masked
    arrays.
    """
    if isinstance(queries, Codes):
        queries = fitting(queries, model)
        check_same_model(queries.model, model, "queries", what)
        queries = queries.packed
    check_plain("queries", queries)
    if queries.dtype != BYTE or queries.ndim != 2 or queries.shape[1] * 8 != model.bits:
        raise MismatchError(
            f"queries are {queries.dtype} of shape {queries.shape}; "
            f"{what} takes uint8 of shape (q, {model.bits // 8}); {_remedy(queries, model.bits)}"
        )
    return queries if queries.flags.c_contiguous else np.ascontiguousarray(queries)


def _remedy(queries: NDArray[Any], bits: int) -> str:
    """Return how to turn an array that is not packed codes into packed codes."""
    kind, width = queries.dtype.kind, queries.shape[-1] if queries.ndim in (1, 2) else 0
    if width == bits and kind in "biuf" and np.isfinite(queries).all():
        return f"pack bits with np.packbits(queries > 0{', axis=1)' if queries.ndim == 2 else ')[None]'}"
    if width * 8 == bits and kind in "iu":
        return (
            "pass one code as queries[None]" if queries.ndim == 1 else "convert bytes with queries.astype(np.uint8)"
        )
    return "encode images with the same model: transhash.encode"


def check_query_model(queries: ModelRef, model: ModelRef, what: str) -> None:
    """Raise MismatchError unless codes of `queries`, truncated if needed, can be searched for in `what`."""
    if not is_prefix(model, queries):
        check_same_model(queries, model, "queries", what)


def check_same_model(one: ModelRef, other: ModelRef, what: str, than: str) -> None:
    """Raise MismatchError unless two sets of codes come from the same model."""
    if one.digest != other.digest or one.bits != other.bits:
        if advice := cutting(one, other):
            raise MismatchError(f"{what} of {one.bits} bits, {than} of {other.bits}: cannot be compared; {advice}")
        advice = mixing(one, other) or "encode both with one model"
        raise MismatchError(
            f"{what} made by {described(one)}, {than} by {described(other)}: their codes cannot be compared; {advice}"
        )
