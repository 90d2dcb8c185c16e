"""The summary of a report for a newcomer: what hash codes gain, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import accuracy, speed
from .sections import Section

_TOLD = 3  # data sets that the words are about
_TERMS = (
    "mAP, mean average precision, says how far the images that share a label with the query come before all others: "
    "1 is perfect.",
    "Recall says how much of what a full search finds is found.",
)


@dataclass(frozen=True)
class Summary:
    """The beginning of a report.

    Attributes:
        facts: a few numbers to see first, each with what it is.
        buys: sentences on what is gained.
        costs: sentences on what is lost.
        terms: what the words above mean.
    """

    facts: list[tuple[str, str]]
    buys: list[str]
    costs: list[str]
    terms: list[str]


def summarize(sections: Sequence[Section]) -> Summary:
    """Compute the summary of a report from its rows."""
    compared: dict[str, accuracy.Accuracy] = {}
    for section in sections:
        for found in accuracy.accuracies(section):
            compared.setdefault(found.dataset, found)
    timed = [group for section in sections for group in speed.timed(section)]
    facts: list[tuple[str, str]] = []
    buys, costs = [], []
    for place, found in enumerate(list(compared.values())[:_TOLD]):
        buys += accuracy.gains(found)
        costs += accuracy.losses(found)
        facts += accuracy.numbers(found) if not place else []
    if timed:
        told = max(timed, key=lambda rows: (len({row.family for row in rows}), speed.count(rows)))
        largest = max(timed, key=speed.count)
        buys += speed.gains(told) + (speed.gains(largest) if speed.count(largest) > speed.count(told) else [])
        costs += speed.losses(told)
        facts += speed.numbers(told)
    costs += _skipped(sections)
    terms = [said for said, there in zip(_TERMS, (compared, timed), strict=True) if there]
    return Summary(facts, buys, costs, terms)


def _skipped(sections: Sequence[Section]) -> list[str]:
    names = list(dict.fromkeys(entry.method for section in sections for entry in section.skipped))
    return [f"Not run, each for the reason given below: {', '.join(names)}."] if names else []
