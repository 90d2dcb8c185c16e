"""The summary at the top of a report: what hash codes gain, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import accuracy, speed
from .sections import Section

_MOST_DATASETS = 3  # data sets that the summary covers
_TERMS = (
    "mAP, mean average precision, measures how consistently images that share a label with the query rank before all "
    "others: 1 is perfect.",
    "Recall is the share of a full search's matches that are found.",
)


@dataclass(frozen=True)
class ReportSummary:
    """The summary at the top of a report.

    Attributes:
        facts: a few key numbers, each with its meaning.
        buys: sentences on what is gained.
        costs: sentences on what is lost.
        terms: definitions of the terms used above.
    """

    facts: list[tuple[str, str]]
    buys: list[str]
    costs: list[str]
    terms: list[str]


def summarize(sections: Sequence[Section]) -> ReportSummary:
    """Compute the summary of a report from its rows."""
    compared: dict[str, accuracy.Accuracy] = {}
    for section in sections:
        for comparison in accuracy.accuracies(section):
            compared.setdefault(comparison.dataset, comparison)
    timed = [group for section in sections for group in speed.timed(section)]
    facts: list[tuple[str, str]] = []
    buys, costs = [], []
    for number, comparison in enumerate(list(compared.values())[:_MOST_DATASETS]):
        buys += accuracy.gains(comparison)
        costs += accuracy.losses(comparison)
        facts += accuracy.numbers(comparison) if not number else []
    if timed:
        broadest = max(timed, key=lambda rows: (len({row.family for row in rows}), speed.count(rows)))
        largest = max(timed, key=speed.count)
        buys += speed.gains(broadest)
        buys += speed.gains(largest) if speed.count(largest) > speed.count(broadest) else []
        costs += speed.losses(broadest)
        facts += speed.numbers(broadest)
    costs += _skipped(sections)
    terms = [definition for definition, used in zip(_TERMS, (compared, timed), strict=True) if used]
    return ReportSummary(facts, buys, costs, terms)


def _skipped(sections: Sequence[Section]) -> list[str]:
    names = list(dict.fromkeys(entry.method for section in sections for entry in section.skipped))
    return [f"Not run, for the reasons below: {', '.join(names)}."] if names else []
