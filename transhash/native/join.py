"""The compiled comparison of codes for `transhash.duplicates`: connects near codes without listing the pairs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _scan, threads

MOST_CODES = (1 << 32) - 1
MOST_KEY_BITS = 26

_TASKS = 64  # tasks per thread: some take longer than others
_BUDGET = 1 << 28  # comparisons per call: less than a tenth of a second, after which Ctrl-C is noticed


@dataclass(frozen=True, eq=False)
class Sorted:
    """Codes sorted by some of their bits, the key.

    Attributes:
        width: bytes per code.
        bits: number of bits of the key.
        offsets: (2^(bits + 1) + 1,) uint32, the place of the first code with each key, and of the first of these that
            is not in the known tree; and n.
        rows: (n,) uint32, the position of the code at each place.
        planes: (words, n) uint64, the codes at each place.
    """

    width: int
    bits: int
    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    planes: NDArray[np.uint64]

    @classmethod
    def by(
        cls, codes: NDArray[np.uint8], positions: NDArray[np.uint32], tree: NDArray[np.bool_] | None = None
    ) -> "Sorted":
        """Sort contiguous codes (n, w) uint8 by the bits at `positions`, at most 26.

        Codes for which `tree` (n,) is true are known to be in one tree: `link` does not compare them with each other.
        """
        count, width = codes.shape
        made = cls(
            width,
            len(positions),
            np.empty((2 << len(positions)) + 1, np.uint32),
            np.empty(count, np.uint32),
            np.empty((-(-width // 8), count), np.uint64),
        )
        apart = np.ones(count, np.uint8) if tree is None else (~tree).view(np.uint8)
        bits = np.ascontiguousarray(positions)
        _scan.join_sort(width, codes, bits, apart, made.offsets, made.rows, made.planes)
        return made


def link(
    codes: Sorted, flips: int, radius: int, parents: NDArray[np.uint32], isa: str, on_codes: Callable[[int], object]
) -> None:
    """Put codes at most `radius` bits apart, whose keys differ in at most `flips` bits, into one tree of a forest.

    Args:
        codes: the codes.
        flips: bits.
        radius: bits, at most those of a code.
        parents: (n,) uint32, the parent of each code, which is the code itself for a root; changed in place.
        isa: the instruction set.
        on_codes: called with the number of codes that have been compared with the others.
    """
    masks = _masks(codes.bits, flips)
    total, stopped = len(codes.rows), False

    def compare(part: slice) -> int:
        place = part.start
        while place < part.stop and not stopped:
            place = _scan.join_link(
                isa, codes.width, codes.bits, codes.planes, codes.rows, codes.offsets, masks, parents, radius, place,
                part.stop, _BUDGET,
            )  # fmt: skip
        return part.stop

    step = -(-total // (_TASKS * threads()))
    parts = [slice(start, min(start + step, total)) for start in range(0, total, max(1, step))]
    if threads() == 1 or len(parts) == 1:
        for part in parts:
            on_codes(compare(part))
        return
    with ThreadPoolExecutor(threads(), thread_name_prefix="transhash-join") as pool:
        try:
            for done in pool.map(compare, parts):
                on_codes(done)
        except BaseException:
            stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _masks(bits: int, flips: int) -> NDArray[np.uint32]:
    """Return all numbers of `bits` bits of which at most `flips` are set, ascending."""
    masks = np.zeros(1, np.uint32)
    for bit in range(bits):
        more = masks[np.bitwise_count(masks) < flips] | np.uint32(1 << bit)
        masks = np.concatenate([masks, more])
    return masks
