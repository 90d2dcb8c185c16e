"""The objective of copy detection: edited views of an image get the same code, far from the codes of other images."""

import torch
from torch import Tensor, nn

from .base import Objective, widen
from .targets import folded

_TEMPERATURE = 0.05
_SPREAD_WEIGHT = 0.3  # weight of the term that drives nearest neighbours apart
_FARTHEST = 0.02  # lower bound of 1 - cosine in the logarithm


class Copies(Objective):
    """InfoNCE over codes (van den Oord et al., *Representation Learning with Contrastive Predictive Coding*, 2018)
    and the differential entropy of Pizzi et al., *A Self-Supervised Descriptor for Image Copy Detection*, CVPR 2022.

    A code is the sign of the batch-normalised outputs, with the gradient of tanh. The first term is a softmax over
    the cosines, at a temperature of 0.05: of all views in the batch, those of the same image must be nearest. The
    second term, -log(1 - cosine) of each view's nearest view of another image, spreads the codes; its weight is 0.3.

    Labels are image numbers, (n, 1). The batch normalisation, which balances the bits, is part of the
    code: see `affine`.
    """

    def __init__(self, bits: int) -> None:
        """Take the number of bits."""
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm1d(bits, affine=False)

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        squashed = self.norm(widen(outputs)).tanh()
        codes = squashed + (squashed.sign() - squashed).detach()
        cosines = codes @ codes.T / codes.shape[1]
        same = (labels[:, None] == labels).all(dim=2)
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        scores = (cosines / _TEMPERATURE).masked_fill(itself, -torch.inf)
        copies = scores.masked_fill(~same, -torch.inf)
        found = (copies.logsumexp(dim=1) - scores.logsumexp(dim=1)).mean()
        nearest = cosines.masked_fill(same, -1).amax(dim=1)
        spread = -(1 - nearest).clamp_min(_FARTHEST).log().mean()
        return _SPREAD_WEIGHT * spread - found

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the batch normalisation as a scale and a shift of the outputs."""
        return folded(self.norm)
