"""Which codes to compare, so that all pairs within R bits are found.

The bits of the codes are divided into m parts. Each part gets a number of flips, so that the sum of flips + 1 is R
+ 1. If two codes differ in at most R bits, there is a part in which they differ in at most its flips: otherwise
they would differ in more than R bits (the general pigeonhole principle: Qin, Xiao, Wang and others, ICDE 2018). So
it is enough to compare, for every part, the codes whose keys differ in at most its flips. A key consists of some
bits of the part.

With R + 1 parts and no flips, many parts are compared and keys are short; with few parts, keys are long, but many
buckets of codes are near each other. A model of the costs chooses between them.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from ..native import join

_FEW = 1 << 15  # codes that are all compared with each other
_SAMPLE = 1 << 14  # codes of which the bits are counted
_PAIRS = 1 << 17  # pairs of codes of which the distances are measured

# Nanoseconds on one core of a Xeon with AVX-512. Only their ratios matter.
_SORT = 40.0  # to sort, per code
_SORT_WORD = 15.0  # to sort, per word of a code
_QUERY = 4.5  # per code and bucket it is compared with
_BUCKET = 12.0  # per pair of buckets
_WORD = 0.1  # per pair of codes of 64 bits
_FURTHER_WORD = 0.025  # per pair of codes and 64 further bits, because most codes are too far in the first


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the codes.

    Attributes:
        key: (w,) uint32, the bits of the key, 0 being the highest bit of the first byte.
        flips: how many bits of the keys of near codes may differ.
    """

    key: NDArray[np.uint32]
    flips: int


def planned(codes: NDArray[np.uint8], radius: int) -> list[Part]:
    """Return the parts by which distinct codes (n, bits/8) uint8 within a radius are found most quickly."""
    count, bits = len(codes), 8 * codes.shape[1]
    everything = [Part(np.empty(0, np.uint32), 0)]
    if count <= _FEW:
        return everything
    rng = np.random.default_rng(0)
    balanced = _by_balance(codes[rng.integers(0, count, min(_SAMPLE, count))])
    one, two = rng.integers(0, count, (2, min(_PAIRS, 4 * count)))
    costs = _costs(_shares(codes[one] ^ codes[two], balanced), count, bits)
    best, parts = float(costs[0, 0]), 1
    for number in range(1, min(radius + 1, bits) + 1):
        flips, more = divmod(radius + 1, number)
        rows = costs[: bits // number + 1].min(axis=0)
        cost = more * _at(rows, flips) + (number - more) * _at(rows, flips - 1)
        if cost < best:
            best, parts = cost, number
    if best == costs[0, 0]:
        return everything
    return _divided(balanced, costs, parts, radius)


def _at(costs: NDArray[np.float64], flips: int) -> float:
    return float(costs[min(flips, len(costs) - 1)])


def _divided(balanced: NDArray[np.uint32], costs: NDArray[np.float64], parts: int, radius: int) -> list[Part]:
    """Deal the bits to the parts in turn, so that all have keys of balanced bits."""
    flips, more = divmod(radius + 1, parts)
    chosen = []
    for part in range(parts):
        dealt, allowed = balanced[part::parts], flips if part >= parts - more else flips - 1
        length = int(costs[: len(dealt) + 1, min(allowed, costs.shape[1] - 1)].argmin())
        chosen.append(Part(dealt[:length], allowed))
    return chosen


def _by_balance(codes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the bits of codes, those first that are set in half of them."""
    means = np.unpackbits(codes, axis=1).mean(axis=0)
    return np.argsort(np.abs(means - 0.5).round(2), kind="stable").astype(np.uint32)


def _shares(differing: NDArray[np.uint8], balanced: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Return the share of pairs whose keys differ in at most f bits, (26 + 1, 26 + 1), by the length of keys and f.

    Keys are typical ones: of bits evenly spread over the most and the least balanced. Rare pairs are missing from the
    sample, so the share is at least that of uniformly random codes.
    """
    size = join.MOST_KEY_BITS + 1
    key = balanced[:: max(1, len(balanced) // (size - 1))][: size - 1]
    flipped = np.zeros(len(differing), np.uint8)
    shares = np.ones((size, size))
    for bits in range(1, size):
        if bits <= len(key):
            byte, bit = divmod(int(key[bits - 1]), 8)
            flipped += differing[:, byte] >> (7 - bit) & 1
        uniform = np.cumsum([comb(bits, flips) / 2**bits for flips in range(size)])
        shares[bits] = np.maximum(np.cumsum(np.bincount(flipped, minlength=size)) / len(flipped), uniform)
    return shares


def _costs(shares: NDArray[np.float64], count: int, bits: int) -> NDArray[np.float64]:
    """Return the cost of a part in nanoseconds, by the bits of its key and its flips, like `_shares`."""
    size = len(shares)
    masks = np.array([np.cumsum([comb(bits, flips) for flips in range(size)]) for bits in range(size)], np.float64)
    buckets = 2.0 ** np.arange(size)[:, None]
    pairs = shares * count**2 / 2
    words = -(-bits // 64)
    sort, compared = _SORT + _SORT_WORD * words, _WORD + _FURTHER_WORD * (words - 1)
    return sort * count + masks / 2 * (_QUERY * count + _BUCKET * buckets) + compared * pairs
