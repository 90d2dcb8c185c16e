"""Mean average precision as public hashing code computes it: ties in the order of the database.

HashNet (Cao et al., ICCV 2017) and the repositories based on it sort the database by distance and do not treat ties,
so their result depends on the order of equal distances. Here the sort is stable.
"""

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..codes import Codes
from ..codes.models import check_same_model
from .relevance import common_labels


def legacy_average_precision(queries: Codes, database: Codes, at: int | None = None) -> NDArray[np.float64]:
    """Return AP@R of each query, (q,) float64, with equal distances in the order of the database.

    The sum of hits(i)/i over the hits among the first R, divided by their number; 0 without hits. R is the whole
    database if `at` is None. Raises MismatchError as `hamming_levels` does.
    """
    check_same_model(queries.model, database.model, "queries", "database")
    result = np.zeros(len(queries))
    for query, hits in enumerate(hamming.sharing(*common_labels(queries.records, database.records))):
        distances = hamming.distances(queries.packed[query : query + 1], database.packed)[0]
        order = np.argsort(distances, kind="stable")[:at]
        ranks = np.flatnonzero(hits[order]) + 1
        if len(ranks):
            result[query] = (np.arange(1, len(ranks) + 1) / ranks).mean()
    return result
