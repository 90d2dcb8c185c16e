"""Choose the radius that separates copies from merely similar images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from .. import hamming
from ..codes import ModelRef
from ..errors import MismatchError
from ..hashers import rarity_of
from ..system.arguments import check_range, checked
from .opening import Images, opened

_SAMPLE = 1 << 11  # images whose nearest neighbour is searched
_PAIRS = 1 << 16  # random pairs from which the distribution of distances is estimated
_MOST_CHANCE_PAIRS = 0.5
# With fewer images, copies are too large a share of the pairs to estimate the distances of unrelated images.
_FEWEST_IMAGES = 100
_RAREST = 1e-6  # share of the pairs of unrelated images within the default radius, in a small collection


@dataclass(frozen=True)
class Suggestion:
    """A suggested radius for a collection, and the statistics behind it.

    Attributes:
        radius: bits; the largest radius at which less than one pair of unrelated images is expected, at most an
            eighth of the code. It is 0 if even there more are expected: then the codes do not tell images apart.
        near: how many images of the sample have another image within 0, 1, … bits.
        chance_pairs: pairs of unrelated images expected within 0, 1, … bits in the whole collection.
        sample: images in the sample.
    """

    radius: int
    near: tuple[int, ...]
    chance_pairs: tuple[float, ...]
    sample: int

    def __repr__(self) -> str:
        """Describe the suggestion in one line."""
        return (
            f"<Suggestion: radius {self.radius}, {self.near[self.radius]} of {self.sample} images have one within it>"
        )


def default_radius(model: ModelRef, count: int) -> int:
    """Return the default radius for `count` images.

    For a model with known distances of unrelated images, such as ``copy``, it is the largest radius within which less
    than one pair of unrelated images is expected, and at most one in 10⁶ of those pairs falls. Otherwise it is 1/16
    of the bits for a perceptual hash, and 0 for a trained hasher, which assigns similar codes to images of one class.
    """
    if rarity := rarity_of(model):
        return rarity.radius(min(_RAREST, _MOST_CHANCE_PAIRS / max(1, count * (count - 1) / 2)))
    return model.bits // 16 if model.name == "phash" else 0


@checked
def suggest_radius(images: Images, seed: int = 0) -> Suggestion:
    """Suggest a radius from the distances in a collection: an index, codes, or the path of either.

    A binomial distribution is fitted to the distances of random pairs of distinct codes; their variance determines
    its number of independent bits (Daugman, IEEE TCSVT 2004). Its lower tail estimates how many pairs of unrelated
    images are within a radius.

    Raises MismatchError for fewer than two codes, and what `dedup` raises.
    """
    check_range(0, 2**63, seed=seed)
    codes, _ = opened(images)
    packed, count = codes.packed, len(codes)
    if count < 2:
        raise MismatchError(f"{count} codes: suggesting a radius needs at least two")
    rng, bits = np.random.default_rng(seed), codes.model.bits
    most = bits // 8
    chance = expected_pairs(_distances(packed, rng), count, bits, most)
    rows = rng.choice(count, min(count, _SAMPLE), replace=False)
    nearest = hamming.top_k(packed[rows], packed, 2).distances[:, 1]
    near = tuple(int((nearest <= radius).sum()) for radius in range(most + 1))
    allowed = np.flatnonzero(chance <= _MOST_CHANCE_PAIRS)
    radius = int(allowed[-1]) if len(allowed) else 0
    return Suggestion(radius, near, tuple(chance.tolist()), len(rows))


def chance_pairs(packed: NDArray[np.uint8], radius: int) -> float:
    """Return how many pairs of unrelated images are expected within a radius, as `suggest_radius` does.

    It is 0 for fewer than 100 codes (n, bits/8) uint8.
    """
    if len(packed) < _FEWEST_IMAGES:
        return 0.0
    bits = packed.shape[1] * 8
    apart = _distances(packed, np.random.default_rng(0))
    return float(expected_pairs(apart, len(packed), bits, min(radius, bits))[-1])


def _distances(packed: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the distances of random pairs of codes, without equal ones, as shares of the bits."""
    one = rng.integers(0, len(packed), _PAIRS)
    two = (one + rng.integers(1, len(packed), _PAIRS)) % len(packed)
    apart = np.bitwise_count(packed[one] ^ packed[two]).sum(axis=1, dtype=np.int64)
    return apart[apart > 0] / (packed.shape[1] * 8)


def expected_pairs(apart: NDArray[np.float64], count: int, bits: int, most: int) -> NDArray[np.float64]:
    """Return the expected number of pairs of `count` unrelated images within 0 to `most` bits, (most + 1,).

    `apart` holds the distances of random pairs as shares of the `bits`.
    """
    pairs = count * (count - 1) / 2
    mean, variance = (float(apart.mean()), float(apart.var())) if len(apart) else (0.0, 0.0)
    if not 0 < mean < 1 or variance == 0:
        return np.full(most + 1, pairs)
    independent = min(float(bits), mean * (1 - mean) / variance)
    share = np.arange(most + 1) / bits * independent
    return pairs * betainc(np.maximum(independent - share, 1e-9), share + 1, 1 - mean)
