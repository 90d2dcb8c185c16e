"""Objectives with a Cauchy likelihood: TransHash, applied to each stream, and DCH, applied to whole codes.

TransHash: Chen et al., *TransHash: Transformer-based Hamming Hashing for Efficient Image Retrieval*, ICMR 2022.
DCH: Cao et al., *Deep Cauchy Hashing for Hamming Space Retrieval*, CVPR 2018. ``docs/hasher.md`` lists what the
TransHash paper leaves open and what we chose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Objective, balanced, pairs, widen

_NEAREST = 1e-6  # distances are at least this fraction of bits/2, because log(1 + γ/d) is infinite at 0
_SHORTEST = 1e-3  # shorter codes are not scaled up to length 1: the gradient would overflow
_GAMMA = 0.5  # default γ of TransHash, as a fraction of the bits


def distances(units: Tensor) -> Tensor:
    """Return the continuous Hamming distances (n, n), B/2 · (1 - cos(h, h')), of vectors of unit length (n, B)."""
    bits = units.shape[1]
    return bits / 2 * (1 - units @ units.T).clamp_min(_NEAREST)


def likelihood_cost(units: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return the negative log likelihood of the batch's similarity matrix under a Cauchy distribution.

    A pair at distance d is similar (s = 1, the labels share a class) with probability γ / (γ + d), and costs ::

        w · (s · log(1 + d/γ) + (1 - s) · log(1 + γ/d))

    where w gives similar and dissimilar pairs of the batch the same total weight.
    """
    first, second, similar = pairs(labels)
    distance = distances(units)[first, second]
    return balanced(torch.where(similar, torch.log1p(distance / gamma), torch.log1p(gamma / distance)), similar)


def quantization_cost(units: Tensor, gamma: float) -> Tensor:
    """Return the negative log of the Cauchy prior that pulls every vector towards the nearest corner of the cube.

    The mean of log(1 + d(|h|, 1) / γ), where d is as in `distances` and 1 is the vector of ones.
    """
    bits = units.shape[1]
    corner = bits / 2 * (1 - units.abs().sum(dim=1) / bits**0.5).clamp_min(0)  # cos(|h|, 1) = Σ|h| / (‖h‖ √bits)
    return torch.log1p(corner / gamma).mean()


class TransHash(Objective):
    """The objective of the TransHash paper: the sum of a separate cost for each stream.

    For the raw outputs h of one stream, global or local, the cost is `likelihood_cost` plus λ times
    `quantization_cost`. Both depend on γ only relative to the number of bits. So γ, given in bits of the whole code,
    is divided among the streams in proportion to their bits.
    """

    def __init__(self, streams: Sequence[int], gamma: float | None = None, quantization: float = 0.1) -> None:
        """Take the stream that each bit comes from, γ in bits of the whole code (by default half of them), and λ."""
        super().__init__()
        self.ratio = _GAMMA if gamma is None else gamma / len(streams)
        self.quantization = quantization
        self._count = max(streams) + 1
        for stream in range(self._count):
            places = [bit for bit, of in enumerate(streams) if of == stream]
            self.register_buffer(f"places{stream}", torch.tensor(places), persistent=False)

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        outputs = widen(outputs)
        cost = outputs.new_zeros(())
        for stream in range(self._count):
            places = self.get_buffer(f"places{stream}")
            units = F.normalize(outputs[:, places], dim=1, eps=_SHORTEST)
            gamma = self.ratio * len(places)
            cost = cost + likelihood_cost(units, labels, gamma) + self.quantization * quantization_cost(units, gamma)
        return cost


class DCH(Objective):
    """Deep Cauchy Hashing: the same two terms over whole codes h = tanh(outputs)."""

    def __init__(self, gamma: float = 20.0, quantization: float = 0.1) -> None:
        """Set γ, in bits, and λ."""
        super().__init__()
        self.gamma = gamma
        self.quantization = quantization

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        units = F.normalize(widen(outputs).tanh(), dim=1, eps=_SHORTEST)
        prior = quantization_cost(units, self.gamma)
        return likelihood_cost(units, labels, self.gamma) + self.quantization * prior
