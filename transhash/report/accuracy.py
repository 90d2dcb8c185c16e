"""Sentences about accuracy and bytes: the codes beside their float embedding and other methods."""

from dataclasses import dataclass

from . import figures
from .records import Row
from .sections import Section

_BITS = 64  # of the codes that the words are about, where there are such
_FIRST = {"P@1": "The first answer is right less often", "P@10": "The first ten answers are right less often"}
_SAME = 1.02  # times the bytes of the codes count as the same


@dataclass(frozen=True)
class Accuracy:
    """Rows of one data set with the same mAP: codes, and what they are compared with.

    Attributes:
        metric: the name of the mAP.
        ours: the codes that the words are about: of 64 bits if there are such, and the best of them.
        floats: the float embedding with the most bytes per image, and the best of them; None if there is none.
        rivals: other methods that take no more bytes than the codes.
        widths: the same codes at other widths, by bits.
    """

    dataset: str
    metric: str
    ours: Row
    floats: Row | None
    rivals: list[Row]
    widths: list[Row]


def accuracies(section: Section) -> list[Accuracy]:
    """Return the comparisons of accuracy and bytes in a run, one per table, data set and metric."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in section.rows:
        metric = next((name for name in row.values if name.startswith("mAP")), "")
        if metric and "bytes per image" in row.values and _bytes(row) > 0:
            groups.setdefault((row.table, row.dataset, metric), []).append(row)
    return [found for (_, dataset, metric), rows in groups.items() if (found := _accuracy(dataset, metric, rows))]


def _accuracy(dataset: str, metric: str, rows: list[Row]) -> Accuracy | None:
    codes = [row for row in rows if row.family == "codes"]
    if not codes:
        return None
    plain = [row for row in codes if not any(row.method.startswith(f"{other.method}, ") for other in codes)]
    told = [row for row in plain if row.params.get("bits") == _BITS] or plain
    ours = max(told, key=lambda row: row.values[metric].value)
    others = [row for row in rows if row.params.get("hasher") in (None, ours.params.get("hasher"))]
    embeddings = [row for row in others if row.family == "float" and _bytes(row) > _bytes(ours) * _SAME]
    floats = max(embeddings, key=lambda row: (_bytes(row), row.values[metric].value), default=None)
    rivals = [row for row in others if row.family != "codes" and _bytes(row) <= _bytes(ours) * _SAME]
    widths = [row for row in codes if row.method == ours.method and _bytes(row) != _bytes(ours)]
    return Accuracy(dataset, metric, ours, floats, rivals, sorted(widths, key=_bytes))


def numbers(of: Accuracy) -> list[tuple[str, str]]:
    """Return the numbers to see first, each with what it is."""
    facts = [
        (f"{_bytes(of.ours):,.0f} bytes", "per image, once it is a code"),
        (f"{_score(of, of.ours):.3f}", f"{of.metric} of the codes on {of.dataset}"),
    ]
    if of.floats:
        facts[0] = (facts[0][0], f"per image; {_times(of.floats, of.ours)} times less than the float embedding")
        facts.append((f"{_score(of, of.floats):.3f}", f"{of.metric} of the float embedding"))
    return facts


def gains(of: Accuracy) -> list[str]:
    """Return sentences on the accuracy of the codes, and the methods that they beat."""
    ours, size = _score(of, of.ours), f"{_bytes(of.ours):,.0f} bytes"
    name = figures.label(of.ours.method, {name: of.ours.params[name] for name in ("bits",) if name in of.ours.params})
    sentences = [f"{ours:.3f} {of.metric} on {of.dataset} with {size} per image ({name})."]
    if of.floats:
        floats, times = _score(of, of.floats), _times(of.floats, of.ours)
        kept = f"{ours / floats:.1%} of that" if ours < floats else "all of that"
        sentences.append(
            f"{floats:.3f} with {_bytes(of.floats):,.0f} bytes, {times} times as many ({of.floats.method}): "
            f"the codes keep {kept}."
        )
    beaten = [row for row in of.rivals if _score(of, row) <= ours]
    if beaten:
        best = max(beaten, key=lambda row: _score(of, row))
        sentences.append(
            f"Of the other methods with {size} or less, it does better than {_listed(beaten)}"
            f" ({_score(of, best):.3f}{' at best' if len(beaten) > 1 else ''})."
        )
    return sentences


def losses(of: Accuracy) -> list[str]:
    """Return sentences on what the codes lose, and to which methods."""
    sentences = []
    ours = _score(of, of.ours)
    for name, lost in ((of.metric, "Some accuracy"), *_FIRST.items()):
        if of.floats and name in of.ours.values and name in of.floats.values:
            have, had = of.ours.values[name].value, of.floats.values[name].value
            if have < had:
                sentences.append(f"{lost}: {have:.3f} {name} on {of.dataset} instead of {had:.3f}.")
    for row in sorted(of.rivals, key=lambda row: -_score(of, row)):
        if _score(of, row) > ours:
            name = figures.label(row.method, row.params)
            score = f"{_score(of, row):.3f} {of.metric}"
            sentences.append(f"No more bytes, and better on {of.dataset}: {name}, {score}.")
    if of.widths:
        others = ", ".join(f"{_score(of, row):.3f} with {_bytes(row):,.0f}" for row in of.widths)
        sentences.append(
            f"Bytes are accuracy: {others} bytes per image, where {_bytes(of.ours):,.0f} give {ours:.3f}."
        )
    figure = of.ours.values[of.metric]
    if figure.low is not None and figure.high is not None and figures.span(of.metric, figure):
        sentences.append(
            f"Short codes tie: {of.metric} on {of.dataset} lies between {figure.low:.3f} and {figure.high:.3f}, "
            "depending on the order of equal distances."
        )
    return sentences


def _listed(rows: list[Row]) -> str:
    names = list(dict.fromkeys(row.method for row in rows))
    comma = "; " if any("," in name for name in names) else ", "
    return names[0] if len(names) == 1 else f"{comma.join(names[:-1])} and {names[-1]}"


def _bytes(row: Row) -> float:
    return row.values["bytes per image"].value


def _times(more: Row, less: Row) -> str:
    return f"{_bytes(more) / _bytes(less):,.0f}"


def _score(of: Accuracy, row: Row) -> float:
    return row.values[of.metric].value
