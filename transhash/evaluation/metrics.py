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
    "legacy": f"mAP in the order of the database, the rest {TIE_RULE}",
}
DEPTHS = (1, 10, 100)
RADIUS = 2


def measure(queries: Codes, database: Codes, at: int | None = None, rule: str = "expected") -> dict[str, float]:
    """Search every query in a database and return the metrics by name, as means over the queries.

    ``mAP@R`` (R = `at`, or the whole database: ``mAP@all``) with ``mAP@R worst`` and ``mAP@R best``, its band over
    all orders of ties; ``P@N`` and ``recall@N`` for N of 1, 10 and 100 as far as the database goes; ``P@H<=2``, and
    ``empty@H<=2``, the share of queries with nothing within 2 bits. Relevant is what shares a label with the query;
    a query without a label counts as 0.

    Ties are resolved as `TIE_RULES` says of `rule`: ``expected``, or ``legacy``, where mAP has no band.

    Raises MismatchError if the codes are of two models, one side is empty or has no labels, none of the queries has
    one, `at` is below 1, or `rule` is unknown.
    """
    if not len(queries) or not len(database):
        raise MismatchError(f"{len(queries)} queries and {len(database)} codes: nothing to evaluate")
    if at is not None and at < 1:
        raise MismatchError(f"mAP@{at}: R must be at least 1")
    if rule not in TIE_RULES:
        raise MismatchError(f"{rule}: not a rule of ties; choose one of: {', '.join(TIE_RULES)}")
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
