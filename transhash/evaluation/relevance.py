"""Relevance: an image is relevant to a query if they share at least one label."""

import numpy as np
from numpy.typing import NDArray

from ..codes import NO_LABEL, Records
from ..errors import MismatchError

Labels = NDArray[np.int32] | NDArray[np.uint8]
"""Labels as `transhash.hamming.counts` takes them: one per row, (n,) int32; or bit sets, (n, classes/8) uint8."""

_BLOCK = 1 << 24  # booleans (rows × classes) in memory at a time: 16 MiB


def common_labels(queries: Records, database: Records) -> tuple[Labels, Labels]:
    """Return the labels of both sides with common numbers: two files may list the same classes in different orders.

    Labels are int32 if both sides have one per row, otherwise bit sets.
    Raises MismatchError if a side has no labels, or none of the queries has one.
    """
    for side, records in (("queries", queries), ("database", database)):
        if records.labels is None:
            raise MismatchError(f"the {side} have no labels; encode a folder with a subfolder per class")
    assert queries.labels is not None
    assert database.labels is not None
    if without_label(queries) == len(queries):
        raise MismatchError(f"none of the {len(queries)} queries has a label, so nothing is relevant to them")
    number = {name: label for label, name in enumerate(database.label_names)}
    for name in queries.label_names:
        number.setdefault(name, len(number))
    # NO_LABEL is -1, which indexes the last entry: NO_LABEL again.
    translated = np.array([*(number[name] for name in queries.label_names), NO_LABEL], dtype=np.int32)
    query_labels, labels = translated[queries.labels], database.labels
    if query_labels.ndim == labels.ndim == 1:
        return query_labels, labels
    return _sets(query_labels, len(number)), _sets(labels, len(number))


def without_label(records: Records) -> int:
    """Return the number of rows without a label."""
    if records.labels is None:
        return len(records)
    return int((label_lists(records.labels) == NO_LABEL).all(axis=1).sum())


def label_lists(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return labels (n,) or (n, L) int32 as lists (n, L)."""
    return labels[:, None] if labels.ndim == 1 else labels


def _sets(labels: NDArray[np.int32], classes: int) -> NDArray[np.uint8]:
    """Return labels (n,) or (n, L) int32, padded with NO_LABEL, as bit sets: (n, classes/8) uint8."""
    lists = label_lists(labels)
    sets = np.zeros((len(lists), -(-classes // 8)), dtype=np.uint8)
    size = max(1, _BLOCK // max(1, classes, lists.shape[1]))
    for start in range(0, len(lists), size):
        block = lists[start : start + size]
        rows, columns = np.nonzero(block != NO_LABEL)
        members = np.zeros((len(block), classes), dtype=np.bool_)
        members[rows, block[rows, columns]] = True
        sets[start : start + size] = np.packbits(members, axis=1)
    return sets
