"""Process one batch in several processes, with torch.distributed, which accelerate sets up."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(values: Tensor) -> Tensor:
    """Gather the rows of all processes, in order and with gradients; a single process gets `values` itself.

    Every process computes the whole objective, so that pairs span processes. The gradient of a process's rows is
    summed over all processes; averaging the gradients then divides it by their number. The result is the gradient
    that a single process would compute from the whole batch.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    rows: Tensor = _Gathered.apply(values.contiguous())
    return rows


class _Gathered(torch.autograd.Function):
    """Gathers rows forward and sums gradients backward; torch's own version is deprecated."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed.chunk(dist.get_world_size())[dist.get_rank()]
