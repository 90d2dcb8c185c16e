"""AdamW or SGD with layer-wise decay of the learning rate, and its schedule."""

import math

import torch
from torch import nn

from ..hashers.smvit import SMViT
from .config import TrainConfig

_MOMENTUM = 0.9


def build(net: SMViT, objective: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Make an optimizer for the parameters of a network and an objective, in groups with separate learning rates.

    Heads and objective learn at the full rate, the blocks of the two streams at `layer_decay` times that, and so on
    down to the patches (Clark et al., *ELECTRA*, ICLR 2020). Weight decay applies to matrices only: not to biases,
    norms, tokens or position embeddings. Each group stores its highest rate as ``peak``.
    """
    decay = config.layer_decay or 1.0  # None if `TrainConfig.settled` was not called
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in [*net.named_parameters(), *objective.named_parameters(prefix="objective")]:
        matrix = parameter.ndim > 1 and not name.endswith(("token", "pos_embed"))
        groups.setdefault((_below_heads(name, len(net.backbone.blocks)), matrix), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "peak": config.lr * decay**below,
            "weight_decay": config.weight_decay if matrix else 0.0,
        }
        for (below, matrix), parameters in groups.items()
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=config.lr, momentum=_MOMENTUM)
    return torch.optim.AdamW(settings, lr=config.lr, fused=True)  # fused is several times as fast on a CPU


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, config: TrainConfig) -> float:
    """Set the learning rate of every group for a step, counted from 0: a linear rise, then the schedule.

    Returns the rate as a fraction of its peak.
    """
    rising = max(1, round(config.warmup * (steps if config.warmup < 1 else 1)))
    if step < rising:
        part = (step + 1) / rising
    elif config.schedule == "constant":
        part = 1.0
    else:
        part = 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * part
    return part


def _below_heads(name: str, blocks: int) -> int:
    """Count the layers between a parameter and the heads."""
    if name.startswith("backbone.blocks."):
        return 1 + blocks - int(name.split(".")[2])
    if name.startswith("backbone."):
        return 2 + blocks
    return 1 if name.startswith(("global_block", "global_norm", "local_block", "local_norm")) else 0
