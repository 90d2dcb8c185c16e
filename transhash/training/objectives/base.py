"""The base class of objectives, and functions that several of them use."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Objective(nn.Module):
    """The cost of a batch.

    Call it with the network's real-valued outputs (n, bits), before any activation function; the labels (n, classes),
    1 where an image belongs to a class and 0 elsewhere; and the number of the step, from 0. It returns a scalar. Its
    parameters, if any, are trained with the network but not stored in the hasher.
    """

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        raise NotImplementedError

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Return the scale and shift (bits,) to apply to the outputs before taking their signs, or None."""
        return None


class Sum(Objective):
    """The sum of objectives, of which the first decides how outputs become bits."""

    def __init__(self, terms: Sequence[Objective]) -> None:
        """Take the objectives."""
        super().__init__()
        self.terms = nn.ModuleList(terms)

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        first, *others = (term(outputs, labels, step) for term in self.terms)
        return sum(others, start=first)

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Return the scale and shift of the first objective."""
        decides = self.terms[0]
        assert isinstance(decides, Objective)
        return decides.affine()


def widen(outputs: Tensor) -> Tensor:
    """Convert half-precision outputs to float32, in which sums over bits and pairs are accurate."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return every pair i < j of a batch once: i and j (p,), and whether the two share at least one class (p,)."""
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    return first, second, ((labels @ labels.T) > 0)[first, second]


def balanced(cost: Tensor, similar: Tensor) -> Tensor:
    """Return the mean over similar pairs plus the mean over dissimilar ones: both kinds have the same weight."""
    return _mean(cost[similar]) + _mean(cost[~similar])


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, values.numel())
