"""Pairwise logistic objectives: the likelihood of a similar pair is the logistic function of the inner product."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Objective, balanced, pairs, widen


class DPSH(Objective):
    """Li, Wang, Kang, *Feature Learning Based Deep Supervised Hashing with Pairwise Labels*, IJCAI 2016.

    With θ = ⟨u, u'⟩ / 2 over the outputs u themselves, a pair costs log(1 + exp θ) - s θ, averaged over all pairs;
    quantization costs λ times the mean of (u - sign u)². DHN (Zhu et al., AAAI 2016) has the same likelihood.
    """

    def __init__(self, quantization: float = 0.1) -> None:
        """Set λ."""
        super().__init__()
        self.quantization = quantization

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        outputs = widen(outputs)
        first, second, similar = pairs(labels)
        theta = (outputs @ outputs.T)[first, second] / 2
        likelihood = F.softplus(theta) - similar * theta
        return likelihood.mean() + self.quantization * (outputs - outputs.sign()).square().mean()


class HashNet(Objective):
    """Cao, Long, Wang, Yu, *HashNet: Deep Learning to Hash by Continuation*, ICCV 2017.

    With codes h = tanh(β u) and θ = α ⟨h, h'⟩, a pair costs w · (log(1 + exp θ) - s θ), where w balances similar and
    dissimilar pairs. β = √(1 + step/200) grows, so that tanh approaches sign and no quantization term is needed;
    α = 10 / bits, both as in the authors' code.
    """

    def __init__(self, bits: int) -> None:
        """Take the number of bits."""
        super().__init__()
        self.alpha = 10 / bits

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        codes = torch.tanh((1 + step / 200) ** 0.5 * widen(outputs))
        first, second, similar = pairs(labels)
        theta = self.alpha * (codes @ codes.T)[first, second]
        return balanced(F.softplus(theta) - similar * theta, similar)
