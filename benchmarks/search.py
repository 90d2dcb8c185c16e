"""Search: 64-bit codes beside the float embeddings they stand for, same rows, same queries, one thread each."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import Codes, Index
from transhash.codes import ModelRef, Records, StringTable
from transhash.packing import pack

_K = 10
_CLUSTERS = 1000
_WARM_UP = 3


@dataclass(frozen=True)
class Row:
    """One method: bytes a row, median and range of a single query in milliseconds.

    `recall` is the part of the ten places filled as near as an exact scan of the same vectors fills them.
    """

    name: str
    bytes: float
    median: float
    low: float
    high: float
    recall: float


@click.command("search")
@click.option("-n", "count", default=200_000, show_default=True, help="Codes.")
@click.option("--dim", default=384, show_default=True, help="Dimensions of the float embedding (ViT-S: 384).")
@click.option("--queries", default=100, show_default=True, help="Queries, one at a time.")
@click.option("--seed", default=0, show_default=True, help="Seed of the data.")
def command(count: int, dim: int, queries: int, seed: int) -> None:
    """Latency of one query, in turn for every method, query by query."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of our scan
    faiss.omp_set_num_threads(1)
    database, asked = clustered(count, dim, queries, seed)
    rows = compare(database, asked)
    print(f"{count:,} rows, {dim} dimensions, {queries} single queries, k = {_K}, seed {seed}, 1 thread")
    print(f"{platform.machine()}, faiss {faiss.__version__}, numpy {np.__version__}\n")
    print("| method | bytes a row | ms a query: median (min to max) | ratio to float | recall@10 of the exact scan |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row.name} | {row.bytes:.1f} | {row.median:.3f} ({row.low:.3f} to {row.high:.3f}) "
            f"| {row.median / rows[0].median:.4f} | {row.recall:.3f} |"
        )


def clustered(count: int, dim: int, queries: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return unit vectors (count, dim) and (queries, dim) around common centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((_CLUSTERS, dim), dtype=np.float32)

    def draw(number: int) -> NDArray[np.float32]:
        vectors = centres[rng.integers(_CLUSTERS, size=number)]
        vectors = vectors + 0.7 * rng.standard_normal(vectors.shape, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return draw(count), draw(queries)


def compare(database: NDArray[np.float32], queries: NDArray[np.float32]) -> list[Row]:
    """Time every method on the same queries, taking turns so that a slow moment of the machine hits them all."""
    rng = np.random.default_rng(1)
    planes = rng.standard_normal((database.shape[1], 64), dtype=np.float32)
    codes, asked = pack(database @ planes), pack(queries @ planes)
    floats = faiss.IndexFlatIP(database.shape[1])
    floats.add(database)
    everything = Codes(codes, Records(StringTable.of([b""] * len(codes))), ModelRef("planes", "planes", 64))
    indexes = {kind: Index.build(everything, "faiss", kind) for kind in ("flat", "ivf")}
    searches = {
        "float embedding, FAISS flat": single(floats.search, queries),
        **{f"64-bit codes, {kind}": single(index.search, asked) for kind, index in indexes.items()},
    }
    times = take_turns(searches, len(queries))
    exact = indexes["flat"].search(asked, _K).distances
    found = indexes["ivf"].search(asked, _K).distances
    recall = float((found <= exact[:, -1:]).mean())
    sizes = [database.shape[1] * 4.0, 8.0, float(indexes["ivf"].backend.info()["bytes"]) / len(codes)]
    return [
        Row(name, size, statistics.median(own), min(own), max(own), reached)
        for (name, own), size, reached in zip(times.items(), sizes, (1.0, 1.0, recall), strict=True)
    ]


def single(search: Callable[..., Any], queries: NDArray[Any]) -> Callable[[int], Any]:
    """Return a function that searches with one query, by its place."""
    return lambda place: search(queries[place : place + 1], _K)


def take_turns(searches: dict[str, Callable[[int], Any]], queries: int) -> dict[str, list[float]]:
    """Return the milliseconds of every query by every method."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for place in range(-_WARM_UP, queries):
        for name, search in searches.items():
            started = time.perf_counter()
            search(place % queries)
            if place >= 0:
                times[name].append((time.perf_counter() - started) * 1000)
    return times
