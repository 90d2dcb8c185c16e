"""AdamW with layer-wise decay, and its schedule."""

import math

import torch
from torch import nn

from ..hashers.smvit import SMViT
from .config import TrainConfig


def adamw(net: SMViT, objective: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW over a network and an objective's own parameters, in groups with a learning rate each.

    Heads and objective learn at the full rate, the two streams' blocks at `layer_decay` times that, and so on down to
    the patches (Clark et al., *ELECTRA*, ICLR 2020). Weight decay falls on matrices only: not on biases, norms,
    tokens or position embeddings. Each group keeps its highest rate as ``peak``.
    """
    decay = config.layer_decay or 1.0  # None, where no run has settled it
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in [*net.named_parameters(), *objective.named_parameters(prefix="objective")]:
        matrix = parameter.ndim > 1 and not name.endswith(("token", "pos_embed"))
        groups.setdefault((_below_heads(name, len(net.backbone.blocks)), matrix), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": config.lr * decay**below,
                "weight_decay": config.weight_decay if matrix else 0.0,
            }
            for (below, matrix), parameters in groups.items()
        ],
        lr=config.lr,
        fused=True,  # one pass over the weights: on a CPU several times as fast
    )


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, config: TrainConfig) -> float:
    """Set every group's learning rate for a step from 0: rising in a line, then as the schedule says.

    Returns the part of the peak that is reached.
    """
    rising = max(1, round(steps * config.warmup))
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
    """Return how many layers lie between a parameter and the heads."""
    if name.startswith("backbone.blocks."):
        return 1 + blocks - int(name.split(".")[2])
    if name.startswith("backbone."):
        return 2 + blocks
    return 1 if name.startswith(("global_block", "global_norm", "local_block", "local_norm")) else 0
