"""A linear head that is trained without labels on two views of each image, after CroVCA (arXiv:2510.27584)."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .projections import Floats, itq

_EPOCHS = 15
_FEWEST_STEPS = 135
_BATCH = 512
_RATE = 1e-3  # learning rate, which falls to 0
_CODING_RATE_WEIGHT = 0.07  # weight of the coding rate, chosen on validation images (docs/notebook.md)
_DISTORTION = 0.5  # ε of the coding rate


def aligned(
    features: Floats, views: Floats, bits: int, iterations: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Train a head, which starts as that of `itq`, so that both views of an image get the same code.

    The cost is the binary cross-entropy between the batch-normalised outputs of one view and the signs of the other,
    minus 0.07 times the coding rate per bit of both, which keeps the bits different from each other.

    Args:
        features: (n, d) float64, of the images.
        views: (n, d) float64, of an edited copy of each.
        bits: length of the codes, at most min(d, n).
        iterations: of `itq`.
        rng: draws the start and the batches.

    Returns:
        The weight (bits, d) and the bias (bits,) of the head; outputs have mean 0 and variance 1.

    Raises TrainingError as `itq` does.
    """
    center, scale = features.mean(axis=0), max(features.std(), 1e-12)
    pairs = np.stack([(features - center) / scale, (views - center) / scale], axis=1)  # (n, 2, d)
    planes, _ = itq(pairs[:, 0], bits, iterations, rng)
    weight = _trained(torch.from_numpy(pairs.astype(np.float32)), planes, rng)
    outputs = pairs @ weight.T
    deviations = np.maximum(outputs.std(axis=(0, 1)), 1e-12)
    weight = weight / deviations[:, None]
    return weight / scale, -outputs.mean(axis=(0, 1)) / deviations - weight @ center / scale


def _trained(pairs: Tensor, planes: Floats, rng: np.random.Generator) -> Floats:
    """Train the weight of a head (bits, d) from `planes` on features (n, 2, d)."""
    weight = torch.from_numpy(planes.astype(np.float32)).requires_grad_()
    optimizer = torch.optim.AdamW([weight], _RATE)
    batch = min(_BATCH, len(pairs))
    steps = max(_FEWEST_STEPS, _EPOCHS * (len(pairs) // batch))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        start = step * batch % (len(pairs) // batch * batch)
        if start == 0:
            order = torch.from_numpy(rng.permutation(len(pairs)))
        chosen = pairs[order[start : start + batch]]
        outputs = F.batch_norm((chosen @ weight.T).flatten(0, 1), None, None, training=True)
        optimizer.zero_grad()
        torch.autograd.backward(_cost(outputs.reshape(batch, 2, -1)))
        optimizer.step()
        schedule.step()
    found: NDArray[np.float32] = weight.detach().numpy()
    return found.astype(np.float64)


def _cost(outputs: Tensor) -> Tensor:
    """Return the cost of outputs (n, 2, bits)."""
    one, other = outputs.unbind(dim=1)
    alignment = sum(
        F.binary_cross_entropy_with_logits(here, (there > 0).float()) for here, there in ((one, other), (other, one))
    )
    return alignment / 2 - _CODING_RATE_WEIGHT * (_coding_rate(one) + _coding_rate(other)) / outputs.shape[2]


def _coding_rate(outputs: Tensor) -> Tensor:
    """Return ½ log det(I + d/(n ε²) Zᵀ Z) of outputs (n, d) scaled to unit length."""
    unit = F.normalize(outputs, dim=1)
    count, width = unit.shape
    return 0.5 * torch.logdet(torch.eye(width) + width / (count * _DISTORTION**2) * unit.T @ unit)
