"""The exact scan on a GPU beside reading the codes once, and beside FAISS's scan on the same GPU."""

import platform
import statistics
import time
from collections.abc import Callable

import click
import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from transhash import hamming
from transhash.errors import BackendError
from transhash.results import Nearest

_WARM_UP = 2
_ROOM = 4 << 30  # bytes of the GPU left free: what is copied to measure the bandwidth, and the searches themselves
_COPIED = 1 << 30
_FAISS_K = 2048  # more neighbours FAISS does not give on a GPU


@click.command("gpu")
@click.option("-n", "count", default=1_000_000_000, show_default=True, help="Codes for one query, if so many fit.")
@click.option("--batch-codes", default=100_000_000, show_default=True, help="Codes for a batch, if so many fit.")
@click.option("--queries", default=1024, show_default=True, help="Queries in a batch.")
@click.option("--bits", multiple=True, default=(64,), show_default=True, help="Width; repeatable.")
@click.option("-k", "ks", multiple=True, default=(10, 1000), show_default=True, help="Neighbours; repeatable.")
@click.option("--rounds", default=20, show_default=True, help="Times that each is measured; the median counts.")
def command(
    count: int, batch_codes: int, queries: int, bits: tuple[int, ...], ks: tuple[int, ...], rounds: int
) -> None:
    """Time of one query over as many codes as fit, and of a batch, from host memory to host memory.

    Codes are uniform random bits; every answer is compared with the scan on the CPU (one query) or FAISS's (a batch).
    """
    try:
        from transhash.gpu import choose

        device = choose()
    except BackendError as error:
        raise click.ClickException(f"nothing measured: {error}") from None
    bandwidth = _bandwidth(device, rounds)
    print(f"{_name(device)}, {platform.machine()}, torch {torch.__version__}, faiss {faiss.__version__}")
    print(f"measured copy bandwidth: {bandwidth / 1e9:.0f} GB/s, read and written; {rounds} rounds, medians\n")
    print("| codes | bits | queries | k | scan, ms | G codes/s | scan / reading once | FAISS, ms | FAISS / scan |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for width in bits:
        for wanted, asked in ((count, 1), (batch_codes, queries)):
            codes = _random(min(wanted, _fitting(device, width)), width)
            for k in ks:
                _measure(codes, _random(asked, width, seed=1), k, rounds, device, bandwidth)


def _measure(
    codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int, rounds: int, device: torch.device, bandwidth: float
) -> None:
    """Print a row of the table."""
    seconds, found = _ours(codes, queries, k, rounds, device)
    speed = len(queries) * len(codes) / seconds / 1e9
    cells = [f"{len(codes):,}", codes.shape[1] * 8, len(queries), k, f"{1000 * seconds:.2f}", f"{speed:.1f}"]
    if len(queries) == 1:
        assert (found.ids == hamming.top_k(queries, codes, k).ids).all()
        cells += [f"{seconds / (codes.nbytes / bandwidth):.2f}", "", ""]
    else:
        theirs = _faiss(codes, queries, k, rounds, found)
        cells += ["", f"{1000 * theirs:.1f}", f"{theirs / seconds:.1f}"] if theirs else ["", "", ""]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _ours(
    codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int, rounds: int, device: torch.device
) -> tuple[float, Nearest]:
    """Return the seconds that our scan takes, and what it finds."""
    from transhash.gpu import DeviceCodes

    stored = DeviceCodes(codes, device)
    return _median(lambda: stored.top_k(queries, k), rounds), stored.top_k(queries, k)


def _faiss(
    codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int, rounds: int, expected: Nearest
) -> float | None:
    """Return the seconds that FAISS takes on the GPU; None if it sees none, or does not take this k."""
    if not (hasattr(faiss, "GpuIndexBinaryFlat") and faiss.get_num_gpus()) or k > _FAISS_K:
        return None
    torch.cuda.empty_cache()
    index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), codes.shape[1] * 8)
    index.add(codes)
    assert (index.search(queries, k)[0] == expected.distances).all()
    return _median(lambda: index.search(queries, k), max(1, rounds // 4))


def _bandwidth(device: torch.device, rounds: int) -> float:
    """Return the bytes a second, read and written, of copies inside the device's memory."""
    size = _COPIED if device.type == "cuda" else 1 << 20
    source = torch.zeros(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return 2 * size / _median(copy, rounds)


def _median(call: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of calls that come back when the device has done its work."""
    times = []
    for round in range(-_WARM_UP, rounds):
        started = time.perf_counter()
        call()
        if round >= 0:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _fitting(device: torch.device, bits: int) -> int:
    """Return how many codes the device has room for."""
    if device.type != "cuda":
        return 1 << 12  # Triton's interpreter: to see that this runs
    return (torch.cuda.mem_get_info(device)[0] - _ROOM) // (-(-bits // 32) * 4)


def _random(count: int, bits: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, bits // 8), dtype=np.uint8)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "Triton's interpreter, for no figures"
