"""An objective that classifies the codes themselves."""

from torch import Tensor, nn
from torch.nn import functional as F

from .base import Objective, widen


class GreedyHash(Objective):
    """Su, Zhang, Han, Tian, *Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN*, NeurIPS 2018.

    A linear classifier takes sign(u), whose gradient is passed straight through; the cost is its cross entropy
    (binary, for each class, if images may have several classes) plus λ times the mean of ||u| - 1|³.
    """

    def __init__(self, bits: int, classes: int, quantization: float = 0.1, *, several: bool = False) -> None:
        """Set the number of bits and of classes, λ, and whether an image may have several classes."""
        super().__init__()
        self.classifier = nn.Linear(bits, classes, bias=False)
        self.quantization = quantization
        self._cross_entropy = F.binary_cross_entropy_with_logits if several else F.cross_entropy

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        outputs = widen(outputs)
        signs = outputs + (outputs.sign() - outputs).detach()
        cost: Tensor = self._cross_entropy(self.classifier(signs), labels)
        return cost + self.quantization * (outputs.abs() - 1).abs().pow(3).mean()
