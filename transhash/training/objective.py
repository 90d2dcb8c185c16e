"""The Bayesian objective of TransHash (Chen et al., ICMR 2022, section 3.3; the Cauchy likelihood is that of
Cao et al., Deep Cauchy Hashing, CVPR 2018).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NEAREST = 1e-6  # part of bits/2 below which a distance is taken for this: log(1 + γ/d) has no value at 0
_SHORTEST = 1e-3  # length under which a code is not scaled up to 1: its gradient would be beyond any type


class CauchyObjective(nn.Module):
    """Negative log posterior over every pair of a batch.

    For real-valued codes h_i, h_j with distance d = bits/2 · (1 - cos(h_i, h_j)) and similarity s (1 if the labels
    agree), the likelihood of s = 1 is γ / (γ + d), so that a pair costs ::

        w · (s · log(1 + d/γ) + (1 - s) · log(1 + γ/d))

    where w gives similar and dissimilar pairs of the batch the same total weight. The prior pulls every code
    towards the nearest corner of the cube: log(1 + d(|h|, 1) / γ), weighted by λ.
    """

    def __init__(self, gamma: float, quantization: float) -> None:
        """Set γ, in bits, and λ."""
        super().__init__()
        self.gamma = gamma
        self.quantization = quantization

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss of outputs (n, bits) float under labels (n,) int; always in float32 or wider."""
        outputs = outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
        bits = outputs.shape[1]
        units = F.normalize(outputs, dim=1, eps=_SHORTEST)
        first, second = torch.triu_indices(len(outputs), len(outputs), offset=1, device=outputs.device)
        similar = labels[first] == labels[second]  # the similarity matrix of this batch, each pair once
        distance = bits / 2 * (1 - (units @ units.T)[first, second]).clamp_min(_NEAREST)
        cost = torch.where(similar, torch.log1p(distance / self.gamma), torch.log1p(self.gamma / distance))
        pairs = _mean(cost[similar]) + _mean(cost[~similar])
        corner = bits / 2 * (1 - units.abs().sum(dim=1) / bits**0.5).clamp_min(0)  # cos(|h|, 1) = Σ|h| / (‖h‖ √bits)
        return pairs + self.quantization * torch.log1p(corner / self.gamma).mean()


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, values.numel())
