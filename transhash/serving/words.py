"""The meaning of a distance in words: how rarely unrelated images come that close by chance."""

import numpy as np
from numpy.typing import NDArray

from ..duplicates import expected_pairs

_CHANCES = (("copy", 1e-9), ("likely", 1e-6), ("similar", 1e-3))  # probability for a pair of unrelated images
_PAIRS = 1 << 15


def distance_words(codes: NDArray[np.uint8], bits: int, seed: int = 0) -> list[tuple[int, str]]:
    """Return words with the largest distance that each stands for, ascending; the last one stands for all others.

    A word is left out if no distance qualifies for it. The chances are those that random pairs of `codes`
    (m, bits/8) suggest, by the distribution that `transhash.suggest_radius` fits to them.
    """
    words: list[tuple[int, str]] = []
    if len(codes) > 1:
        rng = np.random.default_rng(seed)
        one = rng.integers(0, len(codes), _PAIRS)
        two = (one + rng.integers(1, len(codes), _PAIRS)) % len(codes)
        apart = np.bitwise_count(codes[one] ^ codes[two]).sum(axis=1, dtype=np.int64)
        chances = expected_pairs(apart[apart > 0] / bits, 2, bits, bits - 1)
        for word, chance in _CHANCES:
            within = int(np.searchsorted(chances, chance, side="right")) - 1
            if within >= 0 and (not words or within > words[-1][0]):
                words.append((within, word))
    return [*words, (bits, "unrelated")]
