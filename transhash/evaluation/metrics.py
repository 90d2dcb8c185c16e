"""The numbers of a retrieval experiment."""

from ..codes import Codes
from ..errors import MismatchError
from .average_precision import average_precision
from .levels import hamming_levels
from .precision import precision_at, precision_within, recall_at

TIE_RULE = "expected over all orders of equal distances"
DEPTHS = (1, 10, 100)
RADIUS = 2


def evaluate(queries: Codes, database: Codes, at: int | None = None) -> dict[str, float]:
    """Compare queries with a database and return each metric by its name, as a mean over the queries.

    ``mAP@R`` (R = `at`, or the whole database: ``mAP@all``), ``P@N`` and ``recall@N`` for N of 1, 10 and 100 as far
    as the database goes, and ``P@H<=2``. Ties are resolved exactly: `TIE_RULE`.

    Raises MismatchError if the codes are of two models, labels are missing, or one side is empty.
    """
    if not len(queries) or not len(database):
        raise MismatchError(f"{len(queries)} queries and {len(database)} codes: nothing to evaluate")
    if at is not None and at < 1:
        raise MismatchError(f"mAP@{at}: R must be at least 1")
    levels = hamming_levels(queries, database)
    metrics = {f"mAP@{at or 'all'}": average_precision(levels, at)}
    depths = [depth for depth in DEPTHS if depth <= len(database)]
    metrics |= {f"P@{depth}": precision_at(levels, depth) for depth in depths}
    metrics |= {f"recall@{depth}": recall_at(levels, depth) for depth in depths}
    metrics[f"P@H<={RADIUS}"] = precision_within(levels, RADIUS)
    return {name: float(values.mean()) for name, values in metrics.items()}
