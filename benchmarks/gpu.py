"""Measure searches on a GPU.

The time of one query is compared with the time to read the codes once, and that of a batch with the scan of FAISS on
the same GPU. Inverted lists are measured with their recall.
"""

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

from . import suites

_RESERVED_BYTES = 4 << 30  # bytes of GPU memory left free for the bandwidth measurement and the searches
_COPIED = 1 << 30
_FAISS_K = 2048  # FAISS returns at most this many neighbours on a GPU
_REPEAT_LIMIT = 10.0  # seconds after which one measurement is not repeated
_COLUMNS = ("type", "codes", "bits", "queries", "k", "ms", "G codes/s", "ms / reading once", "recall")

Packed = NDArray[np.uint8]


@dataclass(frozen=True)
class Setup:
    """Settings shared by all measurements.

    Attributes:
        device: the GPU.
        bandwidth: bytes read and written per second by copies inside GPU memory.
        rounds: largest number of repetitions of a measurement.
        ks: numbers of neighbours.
        output: file to which a JSON line per row is appended, or None.
    """

    device: torch.device
    bandwidth: float
    rounds: int
    ks: tuple[int, ...]
    output: Path | None


@click.command("gpu")
@click.option(
    "-n",
    "count",
    type=suites.COUNT,
    default=1_000_000_000,
    show_default=True,
    help="Codes for one query, or as many as fit.",
)
@click.option(
    "--batch-codes",
    type=suites.COUNT,
    default=100_000_000,
    show_default=True,
    help="Codes for a batch, or as many as fit.",
)
@click.option(
    "--list-codes",
    type=click.IntRange(min=0),
    default=10_000_000,
    show_default=True,
    help="Codes for type ivf; 0 skips it.",
)
@click.option("--queries", type=suites.COUNT, default=1024, show_default=True, help="Queries in a batch.")
@click.option(
    "--bits", type=suites.BITS, multiple=True, default=(64,), show_default=True, help="Bits per code; repeatable."
)
@click.option(
    "-k",
    "ks",
    type=suites.COUNT,
    multiple=True,
    default=(10, 1000),
    show_default=True,
    help="Neighbours; repeatable.",
)
@click.option(
    "--rounds", type=suites.COUNT, default=20, show_default=True, help="Repetitions; the median is reported."
)
@click.option("--seconds", default=3600.0, show_default=True, help="Time limit, checked after each row.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to append a JSON line per row to.")
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
    """Time one query over as many codes as fit, batches and inverted lists, from host memory to host memory.

    Codes are uniform random bits. All results of type flat are compared with the scan on the CPU (one query) or with
    FAISS on the GPU (a batch). For type ivf, the recall is reported.
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


def _flat(setup: Setup, count: int, width: int, query_count: int) -> Iterator[dict[str, Any]]:
    """Yield a row per k for an exact scan of `count` codes, and another for FAISS if there are several queries."""
    codes, queries = _random(count, width), _random(query_count, width, seed=1)
    found = []
    for k, seconds, distances in _scanned(setup, codes, queries):
        found.append(distances)
        row = _row("flat", codes, query_count, k, seconds)
        if query_count == 1:
            assert (distances == hamming.top_k(queries, codes, k).distances).all()
            row["ms / reading once"] = seconds / (codes.nbytes / setup.bandwidth)
        yield row
    if query_count > 1 and hasattr(faiss, "GpuIndexBinaryFlat") and faiss.get_num_gpus():
        torch.cuda.empty_cache()
        try:
            yield from _faiss(setup, codes, queries, found)
        except RuntimeError as error:
            print(f"FAISS: {' '.join(str(error).split())[:300]}", flush=True)


def _scanned(setup: Setup, codes: Packed, queries: Packed) -> Iterator[tuple[int, float, NDArray[np.int32]]]:
    """Yield k, the seconds of our scan and the distances that it finds, for every k."""
    from transhash.gpu import DeviceCodes

    stored = DeviceCodes(codes, setup.device)
    for k in setup.ks:
        yield k, _median(partial(stored.top_k, queries, k), setup.rounds), stored.top_k(queries, k).distances


def _faiss(
    setup: Setup, codes: Packed, queries: Packed, expected: list[NDArray[np.int32]]
) -> Iterator[dict[str, Any]]:
    """Yield a row per k for the scan of FAISS on the GPU, with the same codes and queries."""
    index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), codes.shape[1] * 8)
    index.add(codes)
    for k, distances in zip(setup.ks, expected, strict=True):
        if k <= _FAISS_K:
            assert (index.search(queries, k)[0] == distances).all()
            yield _row("FAISS flat", codes, len(queries), k, _median(partial(index.search, queries, k), setup.rounds))


def _lists(setup: Setup, count: int, width: int, query_count: int) -> Iterator[dict[str, Any]]:
    """Yield rows for type ivf with recall, for one query and for a batch."""
    from transhash.gpu.backend import TritonIndex

    codes = _random(count, width)
    began = time.perf_counter()
    index = TritonIndex.build(codes, type="ivf")
    built = time.perf_counter() - began
    for queries in (_random(1, width, seed=1), _random(query_count, width, seed=1)):
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
    """Print a table row and append it to the output file, so that an interrupted run keeps its rows."""
    print(f"| {' | '.join(_cell(row.get(name)) for name in _COLUMNS)} |", flush=True)
    if output:
        with output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _bandwidth(device: torch.device, rounds: int) -> float:
    """Return the bytes read and written per second by copies inside the memory of the device."""
    size = _COPIED if device.type == "cuda" else 1 << 20
    source = torch.zeros(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return 2 * size / _median(copy, rounds)


def _median(call: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of a call, which must wait for the device; the first call is a warm-up."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) <= rounds and (len(times) < 2 or time.perf_counter() - began < _REPEAT_LIMIT):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _fitting(device: torch.device, bits: int) -> int:
    """Return the number of codes that fit into device memory."""
    if device.type != "cuda":
        return 1 << 12  # Triton's interpreter, for a functional test only
    return (torch.cuda.mem_get_info(device)[0] - _RESERVED_BYTES) // (-(-bits // 32) * 4)


def _random(count: int, bits: int, seed: int = 0) -> Packed:
    """Return random packed codes (count, bits/8), drawn as 64-bit words: several times faster than bytes."""
    words = np.random.default_rng(seed).integers(0, 1 << 64, -(-count * bits // 64), dtype=np.uint64)
    return words.view(np.uint8)[: count * bits // 8].reshape(count, bits // 8)


def _name(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else "Triton's interpreter, timings are invalid"
    )
