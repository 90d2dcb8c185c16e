"""Sentences about the times of queries: the fastest codes beside the fastest other methods."""

from . import figures
from .records import Row
from .sections import Section

_BY_DISTANCE, _OF_FLOATS = "recall@10 by distance", "recall@10 of the floats"
_RECALL = 0.95  # of a search that the words compare


def timed(section: Section) -> list[list[Row]]:
    """Return the rows with the time of a query, together where they may be compared."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in section.rows:
        if "ms per query" in row.values and _time(row) > 0:
            groups.setdefault((row.table, row.dataset), []).append(row)
    return list(groups.values())


def count(rows: list[Row]) -> int:
    """Return how many codes rows that may be compared are about; 0 if they do not say."""
    return figures.size(rows[0].dataset) or 0


def numbers(rows: list[Row]) -> list[tuple[str, str]]:
    """Return the numbers to see first, each with what it is."""
    ours = _fastest(rows, "codes")
    return [(f"{_ms(ours)} ms", f"a query {_among(ours)}, once it is encoded")] if ours else []


def gains(rows: list[Row]) -> list[str]:
    """Say what a query takes, and beside what."""
    ours, floats, peer = (_fastest(rows, family) for family in ("codes", "float", "peer"))
    if not ours:
        return []
    said = f"A query {_among(ours)} takes {_ms(ours)} ms with {_searched(ours)}"
    if floats and _time(floats) > _time(ours):
        said += f", and {_ms(floats)} ms with {_searched(floats)}: {_time(floats) / _time(ours):,.0f} times as long"
    if not peer or _time(peer) < _time(ours):
        return [said + "."]
    return [said + ".", f"The fastest peer there, {_searched(peer)}, takes {_ms(peer)} ms."]


def losses(rows: list[Row]) -> list[str]:
    """Say who is faster than the codes, and what floats would have found."""
    ours = _fastest(rows, "codes")
    if not ours:
        return []
    others = [other for family in ("float", "peer") if (other := _fastest(rows, family))]
    said = [
        f"Faster {_among(other)}: {_searched(other)}, {_ms(other)} ms per query instead of {_ms(ours)}."
        for other in others
        if _time(other) < _time(ours)
    ]
    if _OF_FLOATS in ours.values:
        share = ours.values[_OF_FLOATS].value
        said.append(
            f"Of the ten nearest by float embedding {_among(ours)}, {share:.0%} are among the ten nearest codes."
        )
    return said


def _fastest(rows: list[Row], family: str) -> Row | None:
    """Return the fastest row of a family that finds nearly all, or does not say what it finds."""
    return min((row for row in rows if row.family == family and _recall(row) >= _RECALL), key=_time, default=None)


def _searched(row: Row) -> str:
    return row.method + (f" (recall {_recall(row):.3f})" if _recall(row) < 1 else "")


def _among(row: Row) -> str:
    count = figures.size(row.dataset)
    return f"among {count:,} images" if count else f"on {row.dataset}"


def _recall(row: Row) -> float:
    return row.values[_BY_DISTANCE].value if _BY_DISTANCE in row.values else 1.0


def _time(row: Row) -> float:
    return row.values["ms per query"].value


def _ms(row: Row) -> str:
    return figures.plain(_time(row))
