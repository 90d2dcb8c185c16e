"""What the figures say, in words, to somebody who has not seen the project: what codes buy, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import figures
from .records import Row
from .sections import Section

_TOLD = 3  # data sets that the words are about
_BITS = 64  # of the codes that the words are about, where there are such
_BY_DISTANCE, _OF_FLOATS = "recall@10 by distance", "recall@10 of the floats"
_RECALL = 0.95  # of a search that the words compare
_FIRST = {"P@1": "The first answer is right less often", "P@10": "The first ten answers are right less often"}
_TERMS = (
    "mAP, mean average precision, says how far the images that share a label with the query come before all others: "
    "1 is perfect.",
    "Recall says how much of what a full search finds is found.",
)
_SAME = 1.02  # times the bytes of the codes count as the same


@dataclass(frozen=True)
class Fact:
    """A number to see first, and what it is."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Summary:
    """What a report says first.

    Attributes:
        facts: a few numbers.
        buys: sentences on what is gained.
        costs: sentences on what is lost.
        terms: what the words above mean.
    """

    facts: list[Fact]
    buys: list[str]
    costs: list[str]
    terms: list[str]


@dataclass(frozen=True)
class Accuracy:
    """Rows of one data set with the same mAP: codes, and what they are compared with.

    Attributes:
        metric: the name of the mAP.
        ours: the codes that the words are about: of 64 bits if there are such, and the best of them.
        floats: the float embedding with the most bytes an image, and the best of them; None if there is none.
        rivals: other methods that take no more bytes than the codes.
        widths: the same codes at other widths, by bits.
    """

    dataset: str
    metric: str
    ours: Row
    floats: Row | None
    rivals: list[Row]
    widths: list[Row]


def summarize(sections: Sequence[Section]) -> Summary:
    """Compute the summary of a report from its rows."""
    compared: dict[str, Accuracy] = {}
    for section in sections:
        for accuracy in accuracies(section):
            compared.setdefault(accuracy.dataset, accuracy)
    timed = [group for section in sections for group in _timed(section)]
    facts, buys, costs = [], [], []
    for place, accuracy in enumerate(list(compared.values())[:_TOLD]):
        buys += _bought(accuracy)
        costs += _paid(accuracy)
        facts += _facts(accuracy) if not place else []
    if timed:
        told = max(timed, key=lambda rows: (len({row.family for row in rows}), _count(rows)))
        largest = max(timed, key=_count)
        buys += _speed(told) + (_speed(largest) if _count(largest) > _count(told) else [])
        costs += _lost(told)
        facts += _pace(told)
    costs += _skipped(sections)
    terms = [said for said, there in zip(_TERMS, (compared, timed), strict=True) if there]
    return Summary(facts, buys, costs, terms)


def accuracies(section: Section) -> list[Accuracy]:
    """Return what a run says on accuracy and bytes, one for each table, data set and metric."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in section.rows:
        metric = next((name for name in row.values if name.startswith("mAP")), "")
        if metric and "bytes an image" in row.values:
            groups.setdefault((row.table, row.dataset, metric), []).append(row)
    return [found for (_, dataset, metric), rows in groups.items() if (found := _accuracy(dataset, metric, rows))]


def _accuracy(dataset: str, metric: str, rows: list[Row]) -> Accuracy | None:
    codes = [row for row in rows if row.family == "codes"]
    if not codes:
        return None
    plain = [row for row in codes if not any(row.method.startswith(f"{other.method}, ") for other in codes)]
    told = [row for row in plain if row.params.get("bits") == _BITS] or plain
    ours = max(told, key=lambda row: row.values[metric].value)
    embeddings = [row for row in rows if row.family == "float" and _bytes(row) > _bytes(ours) * _SAME]
    own = [row for row in embeddings if row.params.get("hasher") == ours.params.get("hasher")]
    embeddings = own or embeddings
    floats = max(embeddings, key=lambda row: (_bytes(row), row.values[metric].value), default=None)
    rivals = [row for row in rows if row.family != "codes" and _bytes(row) <= _bytes(ours) * _SAME]
    widths = [row for row in codes if row.method == ours.method and _bytes(row) != _bytes(ours)]
    return Accuracy(dataset, metric, ours, floats, rivals, sorted(widths, key=_bytes))


def _facts(of: Accuracy) -> list[Fact]:
    facts = [
        Fact(f"{_bytes(of.ours):,.0f} bytes", "an image, once it is a code"),
        Fact(f"{_score(of, of.ours):.3f}", f"{of.metric} of the codes on {of.dataset}"),
    ]
    if of.floats:
        facts[0] = Fact(facts[0].value, f"an image; {_times(of.floats, of.ours)} times less than the float embedding")
        facts.append(Fact(f"{_score(of, of.floats):.3f}", f"{of.metric} of the float embedding"))
    return facts


def _bought(of: Accuracy) -> list[str]:
    ours, size = _score(of, of.ours), f"{_bytes(of.ours):,.0f} bytes"
    name = figures.label(of.ours.method, {name: of.ours.params[name] for name in ("bits",) if name in of.ours.params})
    said = [f"{ours:.3f} {of.metric} on {of.dataset} with {size} an image ({name})."]
    if of.floats:
        floats, times = _score(of, of.floats), _times(of.floats, of.ours)
        kept = f"{ours / floats:.1%} of that" if ours < floats else "all of that"
        said.append(
            f"{floats:.3f} with {_bytes(of.floats):,.0f} bytes, {times} times as many ({of.floats.method}): "
            f"the codes keep {kept}."
        )
    beaten = [row for row in of.rivals if _score(of, row) <= ours]
    if beaten:
        best = max(beaten, key=lambda row: _score(of, row))
        said.append(
            f"Of the other methods with {size} or less, it does better than {_listed(beaten)}"
            f" ({_score(of, best):.3f}{' at best' if len(beaten) > 1 else ''})."
        )
    return said


def _paid(of: Accuracy) -> list[str]:
    said = []
    ours = _score(of, of.ours)
    for name, lost in ((of.metric, "Some accuracy"), *_FIRST.items()):
        if of.floats and name in of.ours.values and name in of.floats.values:
            have, had = of.ours.values[name].value, of.floats.values[name].value
            if have < had:
                said.append(f"{lost}: {have:.3f} {name} on {of.dataset} instead of {had:.3f}.")
    for row in sorted(of.rivals, key=lambda row: -_score(of, row)):
        if _score(of, row) > ours:
            name = figures.label(row.method, row.params)
            said.append(f"No more bytes, and better on {of.dataset}: {name}, {_score(of, row):.3f} {of.metric}.")
    if of.widths:
        others = ", ".join(f"{_score(of, row):.3f} with {_bytes(row):,.0f}" for row in of.widths)
        said.append(f"Bytes are accuracy: {others} bytes an image, where {_bytes(of.ours):,.0f} give {ours:.3f}.")
    figure = of.ours.values[of.metric]
    if figure.low is not None and figure.high is not None and figures.span(of.metric, figure):
        said.append(
            f"Short codes tie: {of.metric} on {of.dataset} lies between {figure.low:.3f} and {figure.high:.3f}, "
            "depending on the order of equal distances."
        )
    return said


def _timed(section: Section) -> list[list[Row]]:
    """Return the rows with the time of a query, together where they may be compared."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in section.rows:
        if "ms a query" in row.values:
            groups.setdefault((row.table, row.dataset), []).append(row)
    return list(groups.values())


def _speed(rows: list[Row]) -> list[str]:
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


def _pace(rows: list[Row]) -> list[Fact]:
    ours = _fastest(rows, "codes")
    return [Fact(f"{_ms(ours)} ms", f"a query {_among(ours)}, once it is encoded")] if ours else []


def _lost(rows: list[Row]) -> list[str]:
    """Say who is faster than the codes, and what floats would have found."""
    ours = _fastest(rows, "codes")
    if not ours:
        return []
    others = [other for family in ("float", "peer") if (other := _fastest(rows, family))]
    said = [
        f"Faster {_among(other)}: {_searched(other)}, {_ms(other)} ms a query instead of {_ms(ours)}."
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


def _skipped(sections: Sequence[Section]) -> list[str]:
    names = list(dict.fromkeys(entry.method for section in sections for entry in section.skipped))
    return [f"Not run, each for the reason given below: {', '.join(names)}."] if names else []


def _searched(row: Row) -> str:
    return row.method + (f" (recall {_recall(row):.3f})" if _recall(row) < 1 else "")


def _among(row: Row) -> str:
    count = figures.size(row.dataset)
    return f"among {count:,} images" if count else f"on {row.dataset}"


def _count(rows: list[Row]) -> int:
    return figures.size(rows[0].dataset) or 0


def _listed(rows: list[Row]) -> str:
    names = list(dict.fromkeys(row.method for row in rows))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _recall(row: Row) -> float:
    return row.values[_BY_DISTANCE].value if _BY_DISTANCE in row.values else 1.0


def _bytes(row: Row) -> float:
    return row.values["bytes an image"].value


def _times(more: Row, less: Row) -> str:
    return f"{_bytes(more) / _bytes(less):,.0f}"


def _score(of: Accuracy, row: Row) -> float:
    return row.values[of.metric].value


def _time(row: Row) -> float:
    return row.values["ms a query"].value


def _ms(row: Row) -> str:
    return figures.plain(_time(row))
