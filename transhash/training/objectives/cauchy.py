"""The Cauchy objective of Cao et al., *Deep Cauchy Hashing for Hamming Space Retrieval*, CVPR 2018, over whole codes.

TransHash (Chen et al., ICMR 2022) sums such a cost over its streams, without tanh; ``docs/hasher.md`` lists how this
objective differs from theirs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Objective, balanced, pairs, widen

_NEAREST = 1e-6  # distances are at least this fraction of bits/2, because log(1 + γ/d) is infinite at 0
_SHORTEST = 1e-3  # shorter codes are not scaled up to length 1: the gradient would overflow


class Cauchy(Objective):
    """Negative log posterior over every pair of a batch.

    For real-valued codes h = tanh(outputs) with distance d = bits/2 · (1 - cos(h, h')) and similarity s (1 if the
    labels share a class), the likelihood of s = 1 is γ / (γ + d), so that a pair costs ::

        w · (s · log(1 + d/γ) + (1 - s) · log(1 + γ/d))

    where w gives similar and dissimilar pairs of the batch the same total weight. The prior pulls every code
    towards the nearest corner of the cube: log(1 + d(|h|, 1) / γ), weighted by λ.

    DCH is the same with γ = 20.
    """

    def __init__(self, gamma: float = 10.0, quantization: float = 0.1) -> None:
        """Set γ, in bits, and λ."""
        super().__init__()
        self.gamma = gamma
        self.quantization = quantization

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        codes = widen(outputs).tanh()
        bits = codes.shape[1]
        units = F.normalize(codes, dim=1, eps=_SHORTEST)
        first, second, similar = pairs(labels)  # the similarity matrix of this batch
        distance = bits / 2 * (1 - (units @ units.T)[first, second]).clamp_min(_NEAREST)
        cost = torch.where(similar, torch.log1p(distance / self.gamma), torch.log1p(self.gamma / distance))
        corner = bits / 2 * (1 - units.abs().sum(dim=1) / bits**0.5).clamp_min(0)  # cos(|h|, 1) = Σ|h| / (‖h‖ √bits)
        return balanced(cost, similar) + self.quantization * torch.log1p(corner / self.gamma).mean()
