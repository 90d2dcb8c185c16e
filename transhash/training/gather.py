"""Several processes, one batch: torch.distributed under accelerate's care."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(values: Tensor) -> Tensor:
    """Return the rows of all processes, in their order, with gradients to each; `values` itself if there is one.

    Every process computes the whole objective, so that pairs reach across processes. The gradient that comes back to
    a process is summed over all, and the averaging over processes divides it by their number: what is left is the
    gradient of one process that saw the whole batch.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    rows: Tensor = _Gathered.apply(values.contiguous())
    return rows


class _Gathered(torch.autograd.Function):
    """All processes' rows; on the way back, each process's gradients summed. torch's own has been deprecated."""

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
