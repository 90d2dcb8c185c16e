"""The contract of an objective, and what several of them share."""

import torch
from torch import Tensor, nn


class Objective(nn.Module):
    """What a batch costs.

    Called with the network's outputs (n, bits), real-valued, before any squashing; the labels (n, classes), 1 where
    an image belongs to a class and 0 elsewhere; and the number of the step, from 0. Returns a scalar. Its own
    parameters, if any, are trained beside the network and not kept in the hasher.
    """

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        raise NotImplementedError

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Return a scale and a shift (bits,) that the network's outputs need before their signs are taken, if any."""
        return None


def widen(outputs: Tensor) -> Tensor:
    """Return outputs in float32 or wider: sums over bits and pairs are no work for half precision."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return every pair i < j of a batch once: i and j (p,), and whether the two share at least one class (p,)."""
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    return first, second, ((labels @ labels.T) > 0)[first, second]


def balanced(cost: Tensor, similar: Tensor) -> Tensor:
    """Return the mean over similar pairs plus the mean over dissimilar ones: both kinds weigh the same."""
    return _mean(cost[similar]) + _mean(cost[~similar])


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, values.numel())
