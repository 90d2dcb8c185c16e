"""Sentences about query times: the fastest codes compared with the fastest other methods."""

from . import figures
from .records import TableRow
from .sections import Section

_BY_DISTANCE, _OF_FLOATS = "recall@10 by distance", "recall@10 of the floats"
_RECALL = 0.95  # lowest recall of a search that is compared


def timed(section: Section) -> list[list[TableRow]]:
    """Return the rows with a query time, grouped by table and data set, within which they are comparable."""
    groups: dict[tuple[str, str], list[TableRow]] = {}
    for row in section.rows:
        if "ms per query" in row.values and _time(row) > 0:
            groups.setdefault((row.table, row.dataset), []).append(row)
    return list(groups.values())


def count(rows: list[TableRow]) -> int:
    """Return the number of codes in the rows' data set; 0 if unknown."""
    return figures.size(rows[0].dataset) or 0


def numbers(rows: list[TableRow]) -> list[tuple[str, str]]:
    """Return the key numbers, each with its meaning."""
    ours = _fastest(rows, "codes")
    return [(f"{_ms(ours)} ms", f"per query {_among(ours)}, without encoding it")] if ours else []


def gains(rows: list[TableRow]) -> list[str]:
    """Return sentences on the time of a query, compared with other methods."""
    ours, floats, peer = (_fastest(rows, family) for family in ("codes", "float", "peer"))
    if not ours:
        return []
    sentence = f"A query {_among(ours)} takes {_ms(ours)} ms with {_searched(ours)}"
    if floats and _time(floats) > _time(ours):
        sentence += (
            f", and {_ms(floats)} ms with {_searched(floats)}: {_time(floats) / _time(ours):,.0f} times as long"
        )
    if not peer or _time(peer) < _time(ours):
        return [sentence + "."]
    return [sentence + ".", f"The fastest peer, {_searched(peer)}, takes {_ms(peer)} ms."]


def losses(rows: list[TableRow]) -> list[str]:
    """Return sentences on methods that are faster than the codes, and on matches that only floats find."""
    ours = _fastest(rows, "codes")
    if not ours:
        return []
    others = [other for family in ("float", "peer") if (other := _fastest(rows, family))]
    sentences = [
        f"Faster {_among(other)}: {_searched(other)}, {_ms(other)} ms per query instead of {_ms(ours)}."
        for other in others
        if _time(other) < _time(ours)
    ]
    if _OF_FLOATS in ours.values:
        share = ours.values[_OF_FLOATS].value
        sentences.append(
            f"Of the ten nearest by float embedding {_among(ours)}, {share:.0%} are among the ten nearest codes."
        )
    return sentences


def _fastest(rows: list[TableRow], family: str) -> TableRow | None:
    """Return the fastest row of a family whose recall is high or not measured."""
    return min((row for row in rows if row.family == family and _recall(row) >= _RECALL), key=_time, default=None)


def _searched(row: TableRow) -> str:
    return row.method + (f" (recall {_recall(row):.3f})" if _recall(row) < 1 else "")


def _among(row: TableRow) -> str:
    count = figures.size(row.dataset)
    return f"among {count:,} images" if count else f"on {row.dataset}"


def _recall(row: TableRow) -> float:
    return row.values[_BY_DISTANCE].value if _BY_DISTANCE in row.values else 1.0


def _time(row: TableRow) -> float:
    return row.values["ms per query"].value


def _ms(row: TableRow) -> str:
    return figures.plain(_time(row))
