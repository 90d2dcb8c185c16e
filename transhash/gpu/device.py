"""Choose the device that scans, and report clearly if it is missing or full."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from ..errors import BackendError

try:
    from . import kernels
except ImportError as error:
    raise BackendError(f"scanning on a GPU needs Triton, which comes with torch on Linux ({error})") from None

_RESERVED_BYTES = 1 << 30  # bytes of GPU memory reserved for searches


def choose(name: str | None = None) -> torch.device:
    """Return the device called `name`, such as ``cuda`` or ``cuda:1``; by default, the current GPU.

    Under Triton's interpreter (``TRITON_INTERPRET=1``), which tests use, the default is ``cpu``; otherwise ``cpu`` is
    refused. Raises BackendError if the device does not exist.
    """
    try:
        device = torch.device(name or ("cpu" if kernels.INTERPRETED else "cuda"))
    except RuntimeError:
        raise BackendError(f"device {name!r}: use cuda or, of several GPUs, cuda:1") from None
    if device.type == "cpu" and kernels.INTERPRETED:
        return device
    if device.type != "cuda":
        raise BackendError(f"device {device}: the GPU scan runs on CUDA devices only")
    if not torch.cuda.is_available():
        raise BackendError(f"device {device}: torch {torch.__version__} finds no CUDA GPU")
    if (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(f"device {device}: number of GPUs: {torch.cuda.device_count()}, counted from cuda:0")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def choose_some(name: str | None = None) -> list[torch.device]:
    """Return every CUDA GPU if `name` is ``all``, otherwise the one device that `choose` returns."""
    if name != "all":
        return [choose(name)]
    return [choose(f"cuda:{number}") for number in range(torch.cuda.device_count())] or [choose()]


def threads(devices: int) -> ThreadPoolExecutor:
    """Return a pool with one thread per device. Triton's interpreter is not thread-safe and gets a single thread."""
    return ThreadPoolExecutor(1 if kernels.INTERPRETED else devices)


def counts_in_hardware(device: torch.device) -> bool:
    """Return whether the kernels may use NVIDIA's population count instruction."""
    return device.type == "cuda" and torch.version.hip is None


def current(device: torch.device) -> AbstractContextManager[object]:
    """Launch kernels on this GPU inside the block."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def check_room(device: torch.device, count: int, bytes_each: int, bits: int) -> None:
    """Raise BackendError if `count` codes do not fit into the GPU's memory; the message says how many do."""
    if device.type != "cuda":
        return
    free = max(0, torch.cuda.mem_get_info(device)[0] - _RESERVED_BYTES)
    if count * bytes_each > free:
        raise BackendError(
            f"{count} codes of {bits} bits need {count * bytes_each / 2**30:.1f} GiB on {device}; "
            f"{free // bytes_each} fit now"
        )


@contextmanager
def searching(device: torch.device) -> Iterator[None]:
    """Search on a device; raise BackendError if memory runs out or Triton cannot start the kernels."""
    try:
        with current(device):
            yield
    except torch.OutOfMemoryError:
        raise BackendError(
            f"{device}: out of memory while searching; use fewer queries at a time, or a smaller k or radius"
        ) from None
    except RuntimeError as error:
        if "C compiler" not in str(error):
            raise
        raise BackendError(f"{device}: Triton needs a C compiler such as gcc to start kernels") from None
