"""Hashers without labels: a projection of the features of a pretrained backbone, fitted to images.

Each projection becomes the hash head of a plain hasher, sign(W x + b).
"""

from pathlib import Path

import torch

from ..errors import TrainingError
from ..hashers.architecture import Architecture
from ..hashers.transhash import TransHasher, start
from ..sources import ImageList
from ..system.files import display
from .config import FitConfig
from .fitting import OnBatch, projected


def fit(
    source: ImageList,
    architecture: Architecture,
    config: FitConfig,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    on_batch: OnBatch = lambda images, skipped: None,
) -> TransHasher:
    """Fit a hasher to images without labels; `transhash.fit` describes the arguments.

    Returns:
        The hasher, not saved.

    Raises TrainingError if there are too few images, a feature is not finite, or the method needs more images or
    feature values; ModelError if the network cannot be built.
    """
    if not (pretrained or weights):
        raise TrainingError(
            "random weights give codes without meaning: pass --pretrained (pretrained=True), "
            "or --weights FILE (weights=)"
        )
    if architecture.groups:
        raise TrainingError(f"{architecture.groups} groups: a fit trains no local streams; choose groups of 0")
    hasher = start(architecture, pretrained=pretrained, weights=weights)
    head = hasher.net.heads[0]
    name, width = display(weights or architecture.backbone), head.in_features
    planes, offsets, training = projected(source, hasher, name, width, architecture.bits, config, on_batch)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(planes))
        head.bias.copy_(torch.from_numpy(offsets))
    return TransHasher(hasher.net, hasher.architecture, hasher.preprocessing, training=training)
