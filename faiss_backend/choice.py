"""The type of an index: given by a FAISS factory string, or chosen from the number and width of the codes."""

import re
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
_SHORT = 256  # bits, up to which the nearest codes are often near enough for the tables of type mih
_RECALL = 95


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


def chosen(count: int, bits: int, recall: int | None) -> Choice:
    """Choose a type for `count` codes of `bits` bits, whose searches should find `recall` percent of the neighbours.

    Raises BackendError for a recall above 100.
    """
    recall = _RECALL if recall is None else recall
    if recall > 100:
        raise BackendError(f"recall={recall}: a percentage, at most 100")
    if count * bits // 8 <= _QUICKLY_SCANNED:
        return Choice("flat", {}, f"{count} codes of {bits} bits are compared in milliseconds, every search is exact")
    if recall == 100 and bits <= _SHORT and count <= multi_index.MOST_ROWS:
        return Choice("mih", {}, "every search is exact, and compares few codes if some are near")
    if recall == 100:
        return Choice("flat", {}, "every search is exact")
    return Choice(
        "ivf",
        {},
        f"{count} codes of {bits} bits take long to compare one by one; measure and set its recall with: "
        f"th index tune INDEX --recall {recall / 100:g}",
    )
