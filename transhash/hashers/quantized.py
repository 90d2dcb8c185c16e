"""Round a network to 8 bits, for ``--fast``: its matrices, and the inputs of these.

The ranges of the inputs are those that a few photographs cause, so they are the same in every run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import weight_types
from .numpy_net import PATCHES, Floats, NumpyViT
from .preprocessing import Preprocessing

Ranges = dict[str, tuple[float, float]]
"""The lowest and the highest input of every matrix, by name."""

_TINY = 1e-12
_MATRICES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class Levels:
    """The 256 levels of an input: ``(level - zero) * scale`` for levels from 0 to 255."""

    scale: float
    zero: int

    @classmethod
    def of(cls, low: float, high: float) -> "Levels":
        """Return levels from about `low` to `high`, which include 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, _TINY) / 255
        return cls(scale, round(-low / scale))

    @property
    def ends(self) -> tuple[np.float32, np.float32]:
        """The values of the lowest and the highest level."""
        return np.float32(-self.zero * self.scale), np.float32((255 - self.zero) * self.scale)


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix (rows, columns) as int8, with a float32 scale (rows,) for each row, and the levels of its input."""

    values: NDArray[np.int8]
    scale: Floats
    levels: Levels


class _Recorder(NumpyViT):
    """Computes as another network does, and records the ranges of the inputs of its matrices."""

    def __init__(self, net: NumpyViT) -> None:
        vars(self).update(vars(net))
        self.ranges: Ranges = {}

    def _linear(self, values: Floats, name: str) -> Floats:
        if name.endswith(_MATRICES):
            low, high = self.ranges.get(name, (0.0, 0.0))
            self.ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
        return super()._linear(values, name)


def fold(net: NumpyViT) -> None:
    """Fold the scales of layer norms and of branches into the matrices after and before them.

    Raises ValueError or KeyError if their shapes do not fit together.
    """
    found = net.weights = dict(net.weights)
    for block in net.block_names:
        for norm, matrix in (("norm1", "attn.qkv"), ("norm2", "mlp.fc1")):
            gamma, beta = (found[f"{block}.{norm}.{kind}"] for kind in ("weight", "bias"))
            weight = found[f"{block}.{matrix}.weight"]
            if not gamma.shape == beta.shape == weight.shape[1:]:
                raise ValueError(f"tensor {block}.{norm}: {gamma.shape} before a matrix {weight.shape}")
            found[f"{block}.{matrix}.bias"] = found.get(f"{block}.{matrix}.bias", np.float32(0)) + weight @ beta
            found[f"{block}.{matrix}.weight"] = weight * gamma
            found[f"{block}.{norm}.weight"], found[f"{block}.{norm}.bias"] = np.ones_like(gamma), np.zeros_like(beta)
        for scale, matrix in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            branch = found.pop(f"{block}.{scale}.gamma", None)
            if branch is not None:
                if branch.shape != found[f"{block}.{matrix}.weight"].shape[:1]:
                    raise ValueError(f"tensor {block}.{scale}.gamma: {branch.shape}")
                found[f"{block}.{matrix}.weight"] = found[f"{block}.{matrix}.weight"] * branch[:, None]
                if f"{block}.{matrix}.bias" in found:
                    found[f"{block}.{matrix}.bias"] = found[f"{block}.{matrix}.bias"] * branch


def fold_preprocessing(net: NumpyViT, preprocessing: Preprocessing) -> None:
    """Fold mean and standard deviation into the patch embedding, which then takes pixels from 0 to 255.

    The result is a matrix for patches (P, P, 3), laid out like the pixels of an image. Raises ValueError if the patch
    embedding is not a convolution of three channels.
    """
    found = net.weights = dict(net.weights)
    weight = found[f"{PATCHES}.weight"]
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise ValueError(f"tensor {PATCHES}.weight: {weight.shape}")
    mean, std = (np.array(values, np.float32) * 255 for values in (preprocessing.mean, preprocessing.std))
    weight = weight.transpose(0, 2, 3, 1) / std
    found[f"{PATCHES}.weight"] = weight
    found[f"{PATCHES}.bias"] = found.get(f"{PATCHES}.bias", np.float32(0)) - (weight * mean).sum(axis=(1, 2, 3))


def matrix_names(net: NumpyViT) -> set[str]:
    """Return the names of the matrices in the blocks of a network."""
    return {f"{block}.{name}" for block in net.block_names for name in _MATRICES}


def input_ranges(net: NumpyViT, images: Sequence[Floats]) -> Ranges:
    """Return the ranges of the inputs of a network's matrices for some images, (1, 3, H, W) each.

    Raises ValueError if one is not finite.
    """
    recorder = _Recorder(net)
    for image in images:
        recorder.features(image)
    for name, ends in recorder.ranges.items():
        if not np.isfinite(ends).all():
            raise ValueError(f"inputs of {name} that are not finite numbers")
    return recorder.ranges


def matrices(net: NumpyViT, ranges: Ranges, largest: int) -> dict[str, Matrix]:
    """Return the matrices in the blocks of a network, and its patch embedding with folded preprocessing, rounded.

    The rounded values are at most `largest` (see `saturation`).
    """
    rounded = {
        name: Matrix(*weight_types.quantize(net.weights[f"{name}.weight"], largest), Levels.of(*ends))
        for name, ends in ranges.items()
    }
    return rounded | {PATCHES: patch_matrix(net.weights[f"{PATCHES}.weight"], largest)}


def patch_matrix(weight: Floats, largest: int) -> Matrix:
    """Round a patch embedding (rows, P, P, 3), whose inputs are pixels, to a matrix (rows, P · P · 3).

    The rounding error of a pixel is carried over to the next: as neighbouring pixels are alike, errors cancel out.
    """
    _, scale = weight_types.quantize(weight, largest)
    exact = (weight / scale[:, None, None, None]).reshape(len(weight), -1, 3)
    values = np.empty(exact.shape, np.int8)
    error = np.zeros_like(exact[:, 0])
    for pixel in range(exact.shape[1]):
        wanted = exact[:, pixel] + error
        values[:, pixel] = np.rint(wanted).clip(-largest, largest)
        error = wanted - values[:, pixel]
    return Matrix(values.reshape(len(values), -1), scale, Levels(1.0, 0))
