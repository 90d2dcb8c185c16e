"""A ranking with ties, from which every metric is computed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..codes import Codes
from ..codes.models import check_same_model
from .relevance import Labels, common_labels


@dataclass(frozen=True, eq=False)
class Levels:
    """For each query, the number of tied items at each level of its ranking, nearest level first.

    Attributes:
        total: (q, levels) int64, items at the level.
        relevant: (q, levels) int64, relevant items at the level.
    """

    total: NDArray[np.int64]
    relevant: NDArray[np.int64]


def hamming_levels(queries: Codes, database: Codes) -> Levels:
    """Rank a database by Hamming distance: level d holds the items at distance d from the query.

    An item is relevant if it shares at least one label with the query. Raises MismatchError if the codes are from
    different models, a side has no labels, or none of the queries has one.
    """
    check_same_model(queries.model, database.model, "queries", "database")
    query_labels, labels = common_labels(queries.records, database.records)
    return Levels(*hamming.counts(queries.packed, database.packed, query_labels, labels))


def score_levels(scores: NDArray[np.floating], query_labels: Labels, labels: Labels) -> Levels:
    """Rank a database by real-valued scores (q, n), highest first; equal scores of a query are one level.

    Labels are as `transhash.hamming.counts` takes them.
    """
    total, relevant = np.zeros((2, *scores.shape), dtype=np.int64)
    for query, hits in enumerate(hamming.sharing(query_labels, labels)):
        _, level, sizes = np.unique(-scores[query], return_inverse=True, return_counts=True)
        total[query, : len(sizes)] = sizes
        relevant[query, : len(sizes)] = np.bincount(level[hits], minlength=len(sizes))
    return Levels(total, relevant)
