"""Projections of features to bits without labels: sign(W (x - mean)) is the code of x."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import TrainingError

_SMALLEST = 1e-4  # standard deviation of a whitened component, relative to the first

Floats = NDArray[np.float64]
Projection = Callable[[Floats, int, int, np.random.Generator], tuple[Floats, Floats]]


def itq(features: Floats, bits: int, iterations: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Fit iterative quantization: principal components, rotated towards the corners of the cube.

    Gong, Lazebnik, *Iterative Quantization: A Procrustean Approach to Learning Binary Codes*, CVPR 2011.

    Args:
        features: (n, d) float64.
        bits: number of planes, at most min(d, n).
        iterations: how often to update the codes and the rotation.
        rng: generator that draws the initial rotation.

    Returns:
        The planes' normals, (bits, d) float64, and the mean (d,) that all planes pass through.

    Raises TrainingError if d or n is less than `bits`.
    """
    components, _, mean = _components("itq", features, bits)
    return _rotated(features - mean, components, iterations, rng), mean


def whiten(features: Floats, bits: int, iterations: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Fit a rotation as in `itq`, but of principal components that were scaled to the same variance.

    Rare directions then count as much as frequent ones (Jégou, Chum, *Negative evidences and co-occurrences in image
    retrieval: the benefit of PCA and whitening*, ECCV 2012). The arguments, the result and the error are as in `itq`.
    """
    components, deviations, mean = _components("whiten", features, bits)
    scale = np.maximum(deviations, _SMALLEST * deviations[0]) if deviations[0] > 0 else np.ones(bits)
    return _rotated(features - mean, components / scale[:, None], iterations, rng), mean


def lsh(features: Floats, bits: int, iterations: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw random planes through the mean (Charikar, *Similarity Estimation Techniques from Rounding Algorithms*,
    STOC 2002). The arguments and the result are as in `itq`; `iterations` is ignored.
    """
    return rng.standard_normal((bits, features.shape[1])), features.mean(axis=0)


PROJECTIONS: dict[str, Projection] = {"itq": itq, "whiten": whiten, "lsh": lsh}


def rotation(values: Floats, first: Floats, iterations: int) -> Floats:
    """Minimise ‖sign(V R) - V R‖ over rotations R (bits, bits) by alternating minimisation, starting with `first`.

    `values` V is (n, bits) float64, centered.
    """
    turned = first
    for _ in range(iterations):
        signs = np.where(values @ turned > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(values.T @ signs)  # Procrustes: the rotation that brings V nearest its codes
        turned = left @ right
    return turned


def check_directions(method: str, bits: int, count: int, width: int) -> None:
    """Raise TrainingError unless `count` images with features of `width` numbers have directions for all bits."""
    if method != "lsh" and bits > min(count, width):
        most = min(count, width) // 8 * 8
        few = "8 images or more" if count < width else "a model with 8 values or more"
        cure = f"choose {most} bits or fewer" if most else f"give {few}"
        raise TrainingError(
            f"{method} of {bits} bits needs as many images and feature values; there are {count} images, "
            f"{width} values: {cure}, or --method lsh (method='lsh')"
        )


def _components(method: str, features: Floats, bits: int) -> tuple[Floats, Floats, Floats]:
    """Return the leading principal components (bits, d), their standard deviations (bits,), and the mean (d,)."""
    check_directions(method, bits, *features.shape)
    mean = features.mean(axis=0)
    _, values, components = np.linalg.svd(features - mean, full_matrices=False)
    return components[:bits], values[:bits] / np.sqrt(len(features)), mean


def _rotated(centered: Floats, components: Floats, iterations: int, rng: np.random.Generator) -> Floats:
    """Rotate components (bits, d) so that the projections are near the corners of the cube."""
    bits = len(components)
    first = np.linalg.qr(rng.standard_normal((bits, bits)))[0]
    return rotation(centered @ components.T, first, iterations).T @ components
