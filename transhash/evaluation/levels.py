"""A ranking with ties: what every metric is computed from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..codes import NO_LABEL, Codes
from ..errors import MismatchError
from ..search import check_same_model


@dataclass(frozen=True, eq=False)
class Levels:
    """For each query, how many items tie at each level of its ranking, nearest level first.

    Attributes:
        total: (q, levels) int64, items at the level.
        relevant: (q, levels) int64, those among them that are relevant.
    """

    total: NDArray[np.int64]
    relevant: NDArray[np.int64]


def hamming_levels(queries: Codes, database: Codes) -> Levels:
    """Rank a database by Hamming distance: level d holds what lies d bits from the query.

    Relevant is what carries the query's label; rows of the database without a label are never relevant.
    Raises MismatchError if the codes are of two models, or labels are missing.
    """
    check_same_model(queries.model, database.model, "queries", "database")
    query_labels, labels = _common_labels(queries, database)
    return Levels(*hamming.counts(queries.codes, database.codes, query_labels, labels))


def score_levels(scores: NDArray[np.floating], query_labels: NDArray[np.int32], labels: NDArray[np.int32]) -> Levels:
    """Rank a database by real-valued scores (q, n), highest first; equal scores by position."""
    order = np.argsort(-scores, axis=1, kind="stable")
    relevant = (query_labels[:, None] == labels[order]).astype(np.int64)
    return Levels(np.ones_like(relevant), relevant)


def _common_labels(queries: Codes, database: Codes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return both sides' labels, numbered alike: two files may name the same classes in another order."""
    if queries.records.labels is None or database.records.labels is None:
        side = "queries" if queries.records.labels is None else "database"
        raise MismatchError(f"the {side} have no labels; encode images that lie in subfolders named after classes")
    unlabelled = int((queries.records.labels == NO_LABEL).sum())
    if unlabelled:
        raise MismatchError(f"{unlabelled} of {len(queries)} queries have no label; leave them out")
    number = {name: place for place, name in enumerate(database.records.label_names)}
    for name in queries.records.label_names:
        number.setdefault(name, len(number))
    translated = np.array([number[name] for name in queries.records.label_names], dtype=np.int32)
    return translated[queries.records.labels], database.records.labels
