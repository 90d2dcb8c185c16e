"""Measure each index type: build time, bytes per code, memory, recall and latency."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from transhash import backends, hamming, native

from . import suites
from .scan import clustered

_QUERIES = 256
_K = 10
_TYPES = ("flat", "mih", "ivf", "hnsw", "hash", "multihash")


@click.command("types")
@click.option("-n", "count", type=suites.COUNT, default=1_000_000, show_default=True, help="Number of codes.")
@click.option("--bits", type=suites.BITS, default=64, show_default=True, help="Bits per code.")
@click.option("--type", "types", multiple=True, default=_TYPES, show_default=True, help="Index type; repeatable.")
@click.option("--child", hidden=True)
def command(count: int, bits: int, types: tuple[str, ...], child: str | None) -> None:
    """Build an index of each type over clustered codes and search it, in separate processes."""
    if child:
        print(json.dumps((_build if child == "build" else _search)(Path.cwd(), types[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        codes, queries = clustered(count, bits, _QUERIES)
        np.save(f"{folder}/codes.npy", codes)
        np.save(f"{folder}/queries.npy", queries)
        np.save(f"{folder}/exact.npy", hamming.top_k(queries, codes, _K).distances)
        del codes
        threads = suites.counted(native.threads(), "thread")
        print(f"{suites.counted(count, 'clustered code')} of {bits} bits, {threads}, k = {_K}\n")
        print(
            "| type | parameters | build, s | memory to build, MiB | bytes per code | memory to search, MiB "
            "| recall@10 | ms per query: median (p95) | queries/s in a batch |"
        )
        print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
        for name in types:
            built = _run(folder, name, "build")
            found = _run(folder, name, "search")
            print(
                f"| {name} | {built['params']} | {built['seconds']:.1f} | {built['peak']:.0f} "
                f"| {built['bytes'] / count:.1f} | {found['peak']:.0f} | {found['recall']:.3f} "
                f"| {found['median']:.2f} ({found['p95']:.2f}) | {found['rate']:.0f} |",
                flush=True,
            )


def _run(folder: str, name: str, step: str) -> dict[str, Any]:
    words = [sys.executable, "-c", "from benchmarks.types import command; command()", "--child", step, "--type", name]
    path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(words, cwd=folder, env={**os.environ, **path}, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{name}: {step}: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout))


def _build(folder: Path, name: str) -> dict[str, Any]:
    codes = np.ascontiguousarray(np.load(folder / "codes.npy"))
    target = folder / name
    target.mkdir()
    began = time.perf_counter()
    index = backends.load("faiss").build(codes, type=name)
    index.save(target)
    seconds = time.perf_counter() - began
    params = ", ".join(f"{key} {value}" for key, value in index.info().items() if key not in ("type", "bytes"))
    size = sum(path.stat().st_size for path in target.iterdir())
    return {"seconds": seconds, "bytes": size, "params": params, "peak": _peak()}


def _search(folder: Path, name: str) -> dict[str, Any]:
    queries, exact = (np.load(folder / f"{part}.npy") for part in ("queries", "exact"))
    index = backends.load("faiss").load(folder / name)
    found = index.search(queries, _K)
    times = []
    for place in range(len(queries)):
        began = time.perf_counter()
        index.search(queries[place : place + 1], _K)
        times.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    index.search(queries, _K)
    rate = len(queries) / (time.perf_counter() - began)
    return {
        "recall": float((found.distances <= exact[:, -1:]).mean()),
        "median": statistics.median(times),
        "p95": float(np.quantile(times, 0.95)),
        "rate": rate,
        "peak": _peak(),
    }


def _peak() -> float:
    """Return the peak memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024
