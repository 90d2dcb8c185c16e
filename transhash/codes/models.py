"""Checks that codes come from one model: distances between codes of different models mean nothing."""

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
            f"{what} takes uint8 of shape (q, {model.bits // 8})"
        )
    return queries if queries.flags.c_contiguous else np.ascontiguousarray(queries)


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
