"""Hashers without labels: a projection of a pretrained backbone's features, fitted to images.

Each projection becomes the hash head of a plain hasher, sign(W x + b).
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import TrainingError
from ..hashers.architecture import Architecture
from ..hashers.transhash import TransHasher, start
from ..sources import ImageList, Skipped
from ..sources.lookahead import load
from .config import FitConfig

_BATCH = 32

Floats = NDArray[np.float64]


def fit(
    source: ImageList,
    architecture: Architecture,
    config: FitConfig,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    on_batch: Callable[[int, list[Skipped]], None] = lambda images, skipped: None,
) -> TransHasher:
    """Fit a hasher to images without labels; `transhash.fit` describes the arguments.

    Returns:
        The hasher, not saved.

    Raises TrainingError if there are too few images, a feature is not finite, or itq needs more bits than the
    features have dimensions; ModelError if the network cannot be built.
    """
    if not (pretrained or weights):
        raise TrainingError("random weights give codes without meaning: pass --pretrained, or --weights FILE")
    if architecture.groups:
        raise TrainingError(f"{architecture.groups} groups: a fit trains no local streams; choose groups of 0")
    hasher = start(architecture, pretrained=pretrained, weights=weights)
    head = hasher.net.heads[0]
    rng = np.random.default_rng(config.seed)
    places = np.sort(rng.permutation(len(source.images))[: config.sample])
    if config.method == "itq":
        _check_directions(
            architecture.bits, len(places), head.in_features
        )  # before computing features, which takes long
    sample = ImageList(source.root, [source.images[place] for place in places])
    features = _features(sample, hasher, on_batch)
    if len(features) < 2:
        raise TrainingError(f"{len(features)} images could be read; a fit needs two or more, better thousands")
    if not np.isfinite(features).all():
        raise TrainingError("a feature is not a finite number: the weights are damaged; give others")
    planes, mean = PROJECTIONS[config.method](features, architecture.bits, config.iterations, rng)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(planes))
        head.bias.copy_(torch.from_numpy(-planes @ mean))
    training = {"method": config.method, "images": len(features), "seed": config.seed}
    return TransHasher(hasher.net, hasher.architecture, hasher.preprocessing, training=training)


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
    _check_directions(bits, *features.shape)
    mean = features.mean(axis=0)
    _, _, components = np.linalg.svd(features - mean, full_matrices=False)
    components = components[:bits]
    first = np.linalg.qr(rng.standard_normal((bits, bits)))[0]
    return rotation((features - mean) @ components.T, first, iterations).T @ components, mean


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


def lsh(features: Floats, bits: int, iterations: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw random planes through the mean (Charikar, *Similarity Estimation Techniques from Rounding Algorithms*,
    STOC 2002). The arguments and the result are as in `itq`; `iterations` is ignored.
    """
    return rng.standard_normal((bits, features.shape[1])), features.mean(axis=0)


def _check_directions(bits: int, count: int, width: int) -> None:
    """Raise TrainingError unless `count` images with features of `width` numbers have `bits` principal components."""
    if bits > min(count, width):
        raise TrainingError(
            f"itq of {bits} bits needs as many images and feature values; there are {count} images, "
            f"{width} values: choose fewer bits, or --method lsh"
        )


PROJECTIONS: dict[str, Callable[[Floats, int, int, np.random.Generator], tuple[Floats, Floats]]] = {
    "itq": itq,
    "lsh": lsh,
}


def _features(source: ImageList, hasher: TransHasher, on_batch: Callable[[int, list[Skipped]], None]) -> Floats:
    """Compute the features (n, F) float64 of all readable images."""
    found: list[NDArray[np.float32]] = []
    loaded = load(source, hasher.preprocess)
    while batch := list(islice(loaded, _BATCH)):
        pixels = [item[1] for item in batch if not isinstance(item, Skipped)]
        if pixels:
            found.append(hasher.features(np.stack(pixels)))
        on_batch(len(batch), [item for item in batch if isinstance(item, Skipped)])
    return np.concatenate(found).astype(np.float64) if found else np.empty((0, 0))
