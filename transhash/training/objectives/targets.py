"""Objectives that give every class a target code, and pull its images towards it."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import hadamard
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Objective, widen

_SCALE, _MARGIN = 8.0, 0.2  # of OrthoHash's cosines: the defaults of the authors' code
_SHORTEST = 1e-2  # shorter rows, usually √bits long, are not scaled up to length 1: the gradient would explode
_CANDIDATES = 100  # random sets of targets from which the best is taken


def class_targets(bits: int, classes: int) -> Tensor:
    """Make a target code of ±1 for every class, (classes, bits) float32, far from one another.

    If `bits` is a power of two and there are enough of them, the targets are rows of a Hadamard matrix and their
    negations, as in Yuan et al.; any two differ in at least half of the bits. Otherwise they are random bits: of
    several draws, the one with the largest minimum distance. They are the same in every run, so that hashers can be
    averaged.
    """
    if bits & (bits - 1) == 0 and classes <= 2 * bits:
        rows = hadamard(bits)
        chosen = np.concatenate([rows, -rows])[:classes] if classes > bits - 1 else rows[1 : classes + 1]
        return torch.from_numpy(chosen.astype(np.float32))
    draws = max(1, min(_CANDIDATES, 10**8 // (classes * classes * bits)))
    generator = torch.Generator().manual_seed(0)
    sets = [_random_signs((classes, bits), generator) for _ in range(draws)]
    return min(sets, key=lambda targets: float((targets @ targets.T - 2 * bits * torch.eye(classes)).max()))


def nested_targets(lengths: Sequence[int], classes: int) -> Tensor:
    """Return targets (classes, lengths[-1]) of ±1 float32, whose prefixes of every length separate the classes.

    They are `class_targets` for the longest code or one of a number of random sets, whichever has the largest minimum
    distance between prefixes, relative to their length. They are the same in every run.
    """
    bits = lengths[-1]
    draws = max(1, min(_CANDIDATES, 10**8 // (classes * classes * bits)))
    generator = torch.Generator().manual_seed(0)
    sets = [class_targets(bits, classes), *(_random_signs((classes, bits), generator) for _ in range(draws))]
    return min(sets, key=lambda targets: max(_similarity(targets[:, :length]) for length in lengths))


def _similarity(targets: Tensor) -> float:
    """Return the highest cosine of two targets."""
    bits = targets.shape[1]
    return float((targets @ targets.T / bits - 2 * torch.eye(len(targets))).max())


def _random_signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).float() * 2 - 1


class Targeted(Objective):
    """Base class of objectives with targets; an image with several classes gets the bitwise majority of theirs."""

    targets: Tensor
    undecided: Tensor

    def __init__(self, bits: int, classes: int) -> None:
        """Set the number of bits and of classes."""
        super().__init__()
        self.register_buffer("targets", class_targets(bits, classes))
        self.register_buffer("undecided", _random_signs((bits,), torch.Generator().manual_seed(1)))

    def of(self, labels: Tensor) -> Tensor:
        """Return the target (n, bits) of each image; a fixed random bit decides where its classes tie."""
        votes = labels @ self.targets
        return torch.where(votes == 0, self.undecided, votes.sign())


class CSQ(Targeted):
    """Yuan et al., *Central Similarity Quantization for Efficient Image and Video Retrieval*, CVPR 2020.

    Binary cross entropy of every bit of h = tanh(u) with the image's hash center, plus λ times the mean of
    (|h| - 1)².
    """

    def __init__(self, bits: int, classes: int, quantization: float = 1e-4) -> None:
        """Set the number of bits and of classes, and λ."""
        super().__init__(bits, classes)
        self.quantization = quantization

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        outputs = widen(outputs)
        center = F.softplus(-2 * outputs * self.of(labels)).mean()  # -log((1 + tanh(u) t)/2), safe for any u
        return center + self.quantization * (outputs.tanh().abs() - 1).square().mean()


class DPN(Targeted):
    """Fan et al., *Deep Polarized Network for Supervised Learning of Accurate Binary Hashing Codes*, IJCAI 2020.

    The polarization loss: the mean over images of Σ max(0, m - u · t) over the bits, with margin m = 1.
    """

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        return (1 - widen(outputs) * self.of(labels)).clamp_min(0).sum(dim=1).mean()


class OrthoHash(Targeted):
    """Hoe et al., *One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective*,
    NeurIPS 2021.

    Cross entropy over scaled cosines of the batch-normalised outputs with the targets of all classes, less a margin
    for the right ones. The classes of an image that has several share its weight, and each has the margin, as in the
    authors' code (https://github.com/kamwoh/orthohash, functions/loss/orthohash.py, "label_smoothing", its default).
    The batch normalisation, which balances the bits, is part of the code: see `affine`.
    """

    def __init__(self, bits: int, classes: int) -> None:
        """Set the number of bits and of classes."""
        super().__init__(bits, classes)
        self.norm: nn.Module = nn.BatchNorm1d(bits)

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        cosines = F.normalize(self.norm(widen(outputs)), dim=1, eps=_SHORTEST) @ F.normalize(self.targets, dim=1).T
        scores = _SCALE * (cosines - _MARGIN * labels)
        return F.cross_entropy(scores, labels / labels.sum(dim=1, keepdim=True).clamp_min(1))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the batch normalisation as a scale and a shift of the outputs."""
        return folded(self.norm)


def folded(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return a batch normalisation in evaluation mode as a scale and a shift."""
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    if not norm.affine:
        return scale, -norm.running_mean * scale
    scale = norm.weight * scale
    return scale.detach(), (norm.bias - norm.running_mean * scale).detach()
