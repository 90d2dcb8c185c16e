"""Searches on a GPU: one query beside reading the codes once, batches beside FAISS's scan on the same GPU, lists."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from transhash import hamming
from transhash.errors import BackendError

_ROOM = 4 << 30  # bytes of GPU memory left free for the bandwidth measurement and the searches
_COPIED = 1 << 30
_FAISS_K = 2048  # FAISS returns at most this many neighbours on a GPU
_LONGEST = 10.0  # seconds after which one measurement is not repeated
_COLUMNS = ("type", "codes", "bits", "queries", "k", "ms", "G codes/s", "ms / reading once", "recall")

Packed = NDArray[np.uint8]


@dataclass(frozen=True)
class Setup:
    """What every measurement shares.

    Attributes:
        device: the GPU.
        bandwidth: bytes per second, read and written, of copies inside its memory.
        rounds: most repetitions of a measurement.
        ks: numbers of neighbours.
        output: file that gets a JSON line for every row, or None.
    """

    device: torch.device
    bandwidth: float
    rounds: int
    ks: tuple[int, ...]
    output: Path | None


@click.command("gpu")
@click.option("-n", "count", default=1_000_000_000, show_default=True, help="Codes for one query, if they fit.")
@click.option("--batch-codes", default=100_000_000, show_default=True, help="Codes for a batch, if they fit.")
@click.option("--list-codes", default=10_000_000, show_default=True, help="Codes of type ivf; 0 leaves it out.")
@click.option("--queries", default=1024, show_default=True, help="Queries in a batch.")
@click.option("--bits", multiple=True, default=(64,), show_default=True, help="Width; repeatable.")
@click.option("-k", "ks", multiple=True, default=(10, 1000), show_default=True, help="Neighbours; repeatable.")
@click.option("--rounds", default=20, show_default=True, help="Repetitions of a measurement; the median counts.")
@click.option("--seconds", default=3600.0, show_default=True, help="Start no further measurement after this time.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Append a JSON line for every row.")
def command(
    count: int,
    batch_codes: int,
    list_codes: int,
    queries: int,
    bits: tuple[int, ...],
    ks: tuple[int, ...],
    rounds: int,
    seconds: float,
    output: Path | None,
) -> None:
    """Time of one query over as many codes as fit, of batches and of inverted lists, from host memory to host memory.

    Codes are uniform random bits. Every answer of the flat type is compared with the scan on the CPU (one query) or
    FAISS's on the GPU (a batch); for type ivf the recall is shown.
    """
    try:
        from transhash.gpu import choose

        device = choose()
    except BackendError as error:
        raise click.ClickException(f"nothing measured: {error}") from None
    end = time.monotonic() + seconds
    setup = Setup(device, _bandwidth(device, rounds), rounds, ks, output)
    print(f"{_name(device)}, {platform.machine()}, torch {torch.__version__}, faiss {faiss.__version__}")
    print(f"measured copy bandwidth: {setup.bandwidth / 1e9:.0f} GB/s, read and written; medians\n")
    print(f"| {' | '.join(_COLUMNS)} |\n|:--{'|---:' * (len(_COLUMNS) - 1)}|", flush=True)
    for width in bits:
        rows: list[Iterator[dict[str, Any]]] = [
            _flat(setup, min(count, _fitting(device, width)), width, 1),
            _flat(setup, min(batch_codes, _fitting(device, width)), width, queries),
        ]
        if list_codes:
            rows.append(_lists(setup, min(list_codes, _fitting(device, width)), width, queries))
        for kind in rows:
            for row in kind:
                _show(row, output)
                if time.monotonic() > end:
                    raise click.ClickException(f"stopped after {seconds:.0f} seconds")


def _flat(setup: Setup, count: int, width: int, asked: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every k: an exact scan of `count` codes for `asked` queries at once, and FAISS's of a batch."""
    codes, queries = _random(count, width), _random(asked, width, seed=1)
    found = []
    for k, seconds, distances in _scanned(setup, codes, queries):
        found.append(distances)
        row = _row("flat", codes, asked, k, seconds)
        if asked == 1:
            assert (distances == hamming.top_k(queries, codes, k).distances).all()
            row["ms / reading once"] = seconds / (codes.nbytes / setup.bandwidth)
        yield row
    if asked > 1 and hasattr(faiss, "GpuIndexBinaryFlat") and faiss.get_num_gpus():
        torch.cuda.empty_cache()
        try:
            yield from _faiss(setup, codes, queries, found)
        except RuntimeError as error:
            print(f"FAISS: {' '.join(str(error).split())[:300]}", flush=True)


def _scanned(setup: Setup, codes: Packed, queries: Packed) -> Iterator[tuple[int, float, NDArray[np.int32]]]:
    """Yield, for every k, the seconds that our scan takes and the distances it finds."""
    from transhash.gpu import DeviceCodes

    stored = DeviceCodes(codes, setup.device)
    for k in setup.ks:
        yield k, _median(partial(stored.top_k, queries, k), setup.rounds), stored.top_k(queries, k).distances


def _faiss(
    setup: Setup, codes: Packed, queries: Packed, expected: list[NDArray[np.int32]]
) -> Iterator[dict[str, Any]]:
    """Yield a row for every k: FAISS's scan on the GPU of the same codes for the same queries."""
    index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), codes.shape[1] * 8)
    index.add(codes)
    for k, distances in zip(setup.ks, expected, strict=True):
        if k <= _FAISS_K:
            assert (index.search(queries, k)[0] == distances).all()
            yield _row("FAISS flat", codes, len(queries), k, _median(partial(index.search, queries, k), setup.rounds))


def _lists(setup: Setup, count: int, width: int, asked: int) -> Iterator[dict[str, Any]]:
    """Yield rows for type ivf, with the recall of its answers: one query, and a batch."""
    from transhash.gpu.backend import TritonIndex

    codes = _random(count, width)
    began = time.perf_counter()
    index = TritonIndex.build(codes, type="ivf")
    built = time.perf_counter() - began
    for queries in (_random(1, width, seed=1), _random(asked, width, seed=1)):
        for k, _, exact in _scanned(replace(setup, rounds=1), codes, queries):
            found = index.search(queries, k)
            row = _row("ivf", codes, len(queries), k, _median(partial(index.search, queries, k), setup.rounds))
            row["recall"] = float((found.distances <= exact[:, -1:]).mean())
            yield row | {"nprobe": index.info()["nprobe"], "nlist": index.info()["nlist"], "built, s": built}


def _row(kind: str, codes: Packed, queries: int, k: int, seconds: float) -> dict[str, Any]:
    return {
        "type": kind,
        "codes": len(codes),
        "bits": codes.shape[1] * 8,
        "queries": queries,
        "k": k,
        "ms": 1000 * seconds,
        "G codes/s": queries * len(codes) / seconds / 1e9,
    }


def _show(row: dict[str, Any], output: Path | None) -> None:
    """Print a row of the table and append it to the file, so that an interrupted run keeps its rows."""
    print(f"| {' | '.join(_cell(row.get(name)) for name in _COLUMNS)} |", flush=True)
    if output:
        with output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _bandwidth(device: torch.device, rounds: int) -> float:
    """Return the bytes per second, read and written, of copies inside the device's memory."""
    size = _COPIED if device.type == "cuda" else 1 << 20
    source = torch.zeros(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return 2 * size / _median(copy, rounds)


def _median(call: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of calls that return when the device has done its work; the first does not count."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) <= rounds and (len(times) < 2 or time.perf_counter() - began < _LONGEST):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _fitting(device: torch.device, bits: int) -> int:
    """Return how many codes the device has room for."""
    if device.type != "cuda":
        return 1 << 12  # Triton's interpreter: to see that this runs
    return (torch.cuda.mem_get_info(device)[0] - _ROOM) // (-(-bits // 32) * 4)


def _random(count: int, bits: int, seed: int = 0) -> Packed:
    """Return random codes; 64 bits at a time, which is several times as fast as bytes."""
    words = np.random.default_rng(seed).integers(0, 1 << 64, -(-count * bits // 64), dtype=np.uint64)
    return words.view(np.uint8)[: count * bits // 8].reshape(count, bits // 8)


def _name(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else "Triton's interpreter: timings mean nothing"
    )
