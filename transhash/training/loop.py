"""The training loop."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import TrainingError
from ..hashers.architecture import Architecture
from ..hashers.transhash import TransHasher, start
from ..images import Source
from .config import TrainConfig
from .data import LabelledImages, loader
from .objective import CauchyObjective

_MAX_GRADIENT = 1.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step."""

    epoch: int
    step: int
    steps: int
    images: int
    loss: float


def train(
    source: Source,
    architecture: Architecture,
    config: TrainConfig,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    workers: int = 0,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> TransHasher:
    """Train a hasher on labelled images.

    Args:
        source: images, each with a label; at least two classes and two images in one of them.
        architecture: the network.
        config: the run.
        pretrained: start from the weights that timm has for the backbone.
        weights: start from this safetensors file instead.
        workers: processes that decode images; 0 decodes in this one.
        on_step: called after every step.

    Returns:
        The hasher as it is after the last epoch; `TransHasher.save` writes it.

    Raises TrainingError if the labels allow no training or the loss diverges, ModelError for the network's part.
    """
    class_names = _class_names(source)
    _seed(config.seed)
    hasher = start(architecture, pretrained=pretrained, weights=weights, class_names=class_names)
    net = hasher.net.train()
    batches = loader(LabelledImages(source, class_names, hasher, config), config, workers)
    steps = config.epochs * len(batches)
    objective = CauchyObjective(config.gamma, config.quantization)
    optimizer = torch.optim.AdamW(_parameter_groups(net, config.weight_decay), lr=config.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(steps, config.warmup))
    step = 0
    done = 0
    for epoch in range(config.epochs):
        for batch in batches:
            step += 1
            if batch is None:
                continue
            pixels, labels = (tensor.to(hasher.device) for tensor in batch)
            loss = objective(net(pixels), labels)
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss diverged at step {step}; lower --lr, now {config.lr}")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), _MAX_GRADIENT)
            optimizer.step()
            schedule.step()
            done += 1
            on_step(Progress(epoch + 1, step, steps, len(labels), loss.item()))
    if not done:
        raise TrainingError(f"none of {len(source.images)} images could be read; see why with: th encode")
    net.eval()
    return hasher


def _class_names(source: Source) -> tuple[str, ...]:
    unlabelled = next((image for image in source.images if image.label is None), None)
    if unlabelled:
        name = unlabelled.path.decode("utf-8", "backslashreplace")
        raise TrainingError(f"{name!r} has no label; put every image into a subfolder named after its class")
    names = [image.label for image in source.images if image.label is not None]
    classes = sorted(set(names))
    if len(classes) < 2 or len(names) == len(classes):
        raise TrainingError(
            f"{len(names)} images in {len(classes)} classes; training needs two subfolders or more, "
            "each named after a class, with two images or more"
        )
    return tuple(classes)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # timm's augmentation draws from all three
    torch.manual_seed(seed)


def _parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices only: not biases, norms, tokens or position embeddings."""
    matrices = [p for name, p in net.named_parameters() if p.ndim > 1 and not name.endswith(("token", "pos_embed"))]
    chosen = {id(p) for p in matrices}
    others = [p for p in net.parameters() if id(p) not in chosen]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    rising = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return factor
