"""Sentences about accuracy and size: the codes compared with their float embedding and other methods."""

from dataclasses import dataclass

from . import figures
from .records import TableRow
from .sections import Section

_BITS = 64  # preferred length of the codes that the sentences describe
_FIRST = {"P@1": "The first answer is right less often", "P@10": "The first ten answers are right less often"}
_EQUAL_SIZE = 1.02  # sizes within this factor count as equal


@dataclass(frozen=True)
class Accuracy:
    """Rows of one data set with the same metric: codes, and what they are compared with.

    Attributes:
        metric: name of the metric, such as ``mAP@1000``.
        ours: the best codes of 64 bits or, without such, the best codes.
        floats: the largest float embedding, the best of equals; None if there is none.
        rivals: other methods that need no more bytes than the codes.
        widths: the same codes at other lengths, shortest first.
    """

    dataset: str
    metric: str
    ours: TableRow
    floats: TableRow | None
    rivals: list[TableRow]
    widths: list[TableRow]


def accuracies(section: Section) -> list[Accuracy]:
    """Return the comparisons of accuracy and bytes in a run, one per table, data set and metric."""
    groups: dict[tuple[str, str, str], list[TableRow]] = {}
    for row in section.rows:
        metric = next((name for name in row.values if name.startswith("mAP")), "")
        if metric and "bytes per image" in row.values and _bytes(row) > 0:
            groups.setdefault((row.table, row.dataset, metric), []).append(row)
    return [each for (_, dataset, metric), rows in groups.items() if (each := _accuracy(dataset, metric, rows))]


def _accuracy(dataset: str, metric: str, rows: list[TableRow]) -> Accuracy | None:
    codes = [row for row in rows if row.family == "codes"]
    if not codes:
        return None
    plain = [row for row in codes if not any(row.method.startswith(f"{other.method}, ") for other in codes)]
    preferred = [row for row in plain if row.params.get("bits") == _BITS] or plain
    ours = max(preferred, key=lambda row: row.values[metric].value)
    others = [row for row in rows if row.params.get("hasher") in (None, ours.params.get("hasher"))]
    embeddings = [row for row in others if row.family == "float" and _bytes(row) > _bytes(ours) * _EQUAL_SIZE]
    floats = max(embeddings, key=lambda row: (_bytes(row), row.values[metric].value), default=None)
    rivals = [row for row in others if row.family != "codes" and _bytes(row) <= _bytes(ours) * _EQUAL_SIZE]
    widths = [row for row in codes if row.method == ours.method and _bytes(row) != _bytes(ours)]
    return Accuracy(dataset, metric, ours, floats, rivals, sorted(widths, key=_bytes))


def numbers(of: Accuracy) -> list[tuple[str, str]]:
    """Return the key numbers, each with its meaning."""
    facts = [
        (f"{_bytes(of.ours):,.0f} bytes", "per image as a code"),
        (f"{_score(of, of.ours):.3f}", f"{of.metric} of the codes on {of.dataset}"),
    ]
    if of.floats:
        facts[0] = (facts[0][0], f"per image, 1/{_times(of.floats, of.ours)} of the float embedding")
        facts.append((f"{_score(of, of.floats):.3f}", f"{of.metric} of the float embedding"))
    return facts


def gains(of: Accuracy) -> list[str]:
    """Return sentences on the accuracy of the codes, and the methods that they beat."""
    ours, size = _score(of, of.ours), f"{_bytes(of.ours):,.0f} bytes"
    name = figures.label(of.ours.method, {name: of.ours.params[name] for name in ("bits",) if name in of.ours.params})
    sentences = [f"{ours:.3f} {of.metric} on {of.dataset} with {size} per image ({name})."]
    if of.floats:
        floats, times = _score(of, of.floats), _times(of.floats, of.ours)
        kept = f"{ours / floats:.1%} of that" if ours < floats else "all of it"
        sentences.append(
            f"{floats:.3f} with {_bytes(of.floats):,.0f} bytes, {times} times as many ({of.floats.method}): "
            f"the codes keep {kept}."
        )
    beaten = [row for row in of.rivals if _score(of, row) <= ours]
    if beaten:
        best = max(beaten, key=lambda row: _score(of, row))
        sentences.append(
            f"It beats other methods that use at most {size}: {_listed(beaten)}"
            f" ({_score(of, best):.3f}{' at best' if len(beaten) > 1 else ''})."
        )
    return sentences


def losses(of: Accuracy) -> list[str]:
    """Return sentences on what the codes lose, and which methods beat them."""
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
            sentences.append(f"Better on {of.dataset} with no more bytes: {name}, {score}.")
    if of.widths:
        others = ", ".join(f"{_score(of, row):.3f} with {_bytes(row):,.0f}" for row in of.widths)
        sentences.append(
            f"Accuracy depends on the size: {others} bytes per image, {ours:.3f} with {_bytes(of.ours):,.0f}."
        )
    figure = of.ours.values[of.metric]
    if figure.low is not None and figure.high is not None and figures.span(of.metric, figure):
        sentences.append(
            f"Short codes have ties: {of.metric} on {of.dataset} is between {figure.low:.3f} and {figure.high:.3f}, "
            "depending on the order of equal distances."
        )
    return sentences


def _listed(rows: list[TableRow]) -> str:
    names = list(dict.fromkeys(row.method for row in rows))
    comma = "; " if any("," in name for name in names) else ", "
    return names[0] if len(names) == 1 else f"{comma.join(names[:-1])} and {names[-1]}"


def _bytes(row: TableRow) -> float:
    return row.values["bytes per image"].value


def _times(more: TableRow, less: TableRow) -> str:
    return f"{_bytes(more) / _bytes(less):,.0f}"


def _score(of: Accuracy, row: TableRow) -> float:
    return row.values[of.metric].value
