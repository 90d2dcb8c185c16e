"""The metrics of a retrieval experiment."""

from ..codes import Codes
from ..errors import MismatchError
from .average_precision import average_precision
from .band import average_precision_band
from .legacy import legacy_average_precision
from .levels import hamming_levels
from .precision import empty_within, precision_at, precision_within, recall_at

TIE_RULE = "expected over all orders of equal distances"
TIE_RULES = {
    "expected": TIE_RULE,
    "legacy": f"mAP in the order of the database, other metrics {TIE_RULE}",
}
DEPTHS = (1, 10, 100)
RADIUS = 2


def measure(queries: Codes, database: Codes, at: int | None = None, rule: str = "expected") -> dict[str, float]:
    """Search every query in a database and return the metrics by name, as means over the queries.

    The metrics are ``mAP@R`` (R is `at`; ``mAP@all`` for the whole database) with its bounds over all orders of ties,
    ``mAP@R worst`` and ``mAP@R best``; ``P@N`` and ``recall@N`` for N of 1, 10 and 100, up to the size of the
    database; ``P@H<=2``; and ``empty@H<=2``, the share of queries without a match within 2 bits. An image is relevant
    if it shares a label with the query; a query without a label counts as 0.

    `rule` is one of `TIE_RULES`: ``expected``, or ``legacy``, for which mAP has no bounds.

    Raises MismatchError if the codes are from different models, a side is empty or has no labels, none of the queries
    has a label, `at` is below 1, or `rule` is unknown.
    """
    if not len(queries) or not len(database):
        raise MismatchError(f"{len(queries)} queries and {len(database)} codes: nothing to evaluate")
    if at is not None and at < 1:
        raise MismatchError(f"at={at}: must be at least 1")
    if rule not in TIE_RULES:
        raise MismatchError(f"{rule}: unknown tie rule; choose one of: {', '.join(TIE_RULES)}")
    name = f"mAP@{at or 'all'}"
    at = None if at is None else min(at, len(database))
    levels = hamming_levels(queries, database)
    if rule == "legacy":
        metrics = {name: legacy_average_precision(queries, database, at)}
    else:
        worst, best = average_precision_band(levels, at)
        metrics = {name: average_precision(levels, at), f"{name} worst": worst, f"{name} best": best}
    depths = [depth for depth in DEPTHS if depth <= len(database)]
    metrics |= {f"P@{depth}": precision_at(levels, depth) for depth in depths}
    metrics |= {f"recall@{depth}": recall_at(levels, depth) for depth in depths}
    metrics[f"P@H<={RADIUS}"] = precision_within(levels, RADIUS)
    metrics[f"empty@H<={RADIUS}"] = empty_within(levels, RADIUS)
    return {name: float(values.mean()) for name, values in metrics.items()}
