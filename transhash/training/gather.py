"""Several processes, one batch: torch.distributed under accelerate's care."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def gathered(values: Tensor) -> Tensor:
    """Return the rows of all processes, in their order, with gradients to each; `values` itself if there is one.

    Every process computes the whole objective, so that pairs reach across processes. The gradient that comes back to
    a process is summed over all, and the averaging over processes divides it by their number: what is left is the
    gradient of one process that saw the whole batch.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    return torch.cat(list(all_gather(values.contiguous())))  # type: ignore[no-untyped-call]
