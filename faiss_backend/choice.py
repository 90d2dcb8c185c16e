"""The type of an index: given by a FAISS factory string, or chosen for the codes."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from transhash import multi_index
from transhash.errors import BackendError

_FACTORY = {
    "flat": r"BFlat",
    "ivf": r"BIVF(?P<nlist>\d{1,9})(_HNSW(?P<M>\d{1,9}))?",
    "hnsw": r"BHNSW(?P<M>\d{1,9})",
    "hash": r"BHash(?P<b>\d{1,9})",
    "multihash": r"BHash(?P<nhash>\d{1,9})x(?P<b>\d{1,9})",
}
_QUICKLY_SCANNED = 64 << 20  # bytes of codes: one core compares them with a query in about 10 ms
_SHORT = 256  # bits; in longer codes, the nearest ones are rarely near enough for the tables of type mih
_RECALL = 95
_FEW = 1 << 20  # codes that are scanned in less than a millisecond
# Highest cost of mih, relative to a scan: batches, which a scan compares faster, then take about as long.
_WORTHWHILE = 1 / 10
_MIH = "every search is exact; a sample suggests that 10 neighbours cost {} of comparing all codes"
_TINY = 1 / 1000  # a lower cost is not named


@dataclass(frozen=True)
class Choice:
    """A type, its parameters, and the reason for the choice."""

    type: str
    params: dict[str, int]
    reason: str = ""


def spelled(factory: str) -> Choice | None:
    """Parse a factory string of FAISS such as BIVF1024; None if it does not describe one of the types."""
    for type, pattern in _FACTORY.items():
        match = re.fullmatch(pattern, factory)
        if match:
            return Choice(type, {name: int(digits) for name, digits in match.groupdict().items() if digits})
    return None


def chosen(count: int, bits: int, recall: int | None, share: Callable[[], float]) -> Choice:
    """Choose a type for `count` codes of `bits` bits, whose searches should find `recall` percent of the neighbours.

    `share` returns the cost of a search with type mih, as a share of that of comparing all codes. Raises BackendError
    for a recall above 100.
    """
    recall = _RECALL if recall is None else recall
    if recall > 100:
        raise BackendError(f"recall={recall}: a percentage, at most 100")
    quick = count * bits // 8 <= _QUICKLY_SCANNED
    if bits <= _SHORT and _FEW < count <= multi_index.MOST_ROWS:
        if recall == 100 and not quick:
            return Choice("mih", {}, "every search is exact, and compares few codes if some are near")
        if (cost := share()) <= _WORTHWHILE:
            return Choice("mih", {}, _MIH.format(f"about 1/{1 / cost:.0f}" if cost >= _TINY else "less than 1/1000"))
    if quick:
        reason = f"{count} codes of {bits} bits are compared in milliseconds, and every search is exact"
        return Choice("flat", {}, reason)
    if recall == 100:
        return Choice("flat", {}, "every search is exact")
    return Choice(
        "ivf",
        {},
        f"comparing {count} codes of {bits} bits one by one takes long; measure and set the recall with: "
        f"th index tune INDEX --recall {recall / 100:g}",
    )
