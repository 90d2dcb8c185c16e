"""A moving average of the weights over a window proportional to the length of the run."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaging(module: nn.Module, length: float) -> AveragedModel:
    """Make a moving average of a module's weights and statistics; call `update_parameters` after each step.

    The weight of step i is proportional to i to the power of γ. So the average covers the same fraction of a run of
    any length, and early steps fade out: the power function of Karras et al., *Analyzing and Improving the Training
    Dynamics of Diffusion Models*, CVPR 2024, equation 2.

    Args:
        module: the module to average; a copy of it is the initial value.
        length: standard deviation of the weighting of steps, as a fraction of the run: between 0 and 1/√12, that
            of a plain mean.
    """
    gamma = exponent(length)

    def update(averages: Tensors, now: Tensors, steps: Tensor | int) -> None:
        part = 1 - (1 - 1 / (int(steps) + 1)) ** (gamma + 1)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, now, part)  # all at once: on a GPU one launch, not one per tensor
        else:
            torch._foreach_copy_(averages, now)

    return AveragedModel(module, multi_avg_fn=update, use_buffers=True)


def exponent(length: float) -> float:
    """Compute γ from a length, using algorithm 2 of the paper."""
    square = length**-2
    return float(np.roots([1, 7, 16 - square, 12 - square]).real.max())
