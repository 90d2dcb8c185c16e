"""Compare the exact index types `flat` and `mih` in turns: the same codes, queries and answers."""

import statistics
import time
from collections.abc import Callable

import click
import numpy as np
from numpy.typing import NDArray

from transhash import backends, hamming, native
from transhash.backends import Backend

from .scan import clustered

_BATCH = 256


@click.command("exact")
@click.option("-n", "counts", multiple=True, default=(1_000_000,), show_default=True, help="Codes; repeatable.")
@click.option("--bits", multiple=True, default=(64,), show_default=True, help="Bits per code; repeatable.")
@click.option("-k", default=10, show_default=True, help="Neighbours.")
@click.option("--rounds", default=5, show_default=True, help="Rounds; each runs both types once.")
@click.option("--singles", default=100, show_default=True, help="Queries searched one at a time, in each round.")
@click.option("--data", type=click.Choice(["clustered", "uniform"]), multiple=True, default=("clustered", "uniform"))
def command(
    counts: tuple[int, ...], bits: tuple[int, ...], k: int, rounds: int, singles: int, data: tuple[str, ...]
) -> None:
    """Time single queries and a batch with the types flat and mih, over clustered and uniformly random codes."""
    print(
        f"{native.threads()} threads, scan: {hamming.isa or 'numpy'}, k = {k}, {rounds} rounds; median (min to max)\n"
    )
    print("| codes | bits | data | queries | flat, ms | mih, ms | flat / mih | mih: build, s | bytes per code |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    for count in counts:
        for width in bits:
            for name in data:
                codes, queries = (clustered if name == "clustered" else _uniform)(count, width, _BATCH)
                _compare(f"| {count:,} | {width} | {name} ", codes, queries, k, rounds, singles)


def _uniform(count: int, bits: int, queries: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (count + queries, bits // 8), dtype=np.uint8)
    return drawn[:count], drawn[count:]


def _compare(
    what: str, codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int, rounds: int, singles: int
) -> None:
    backend = backends.load("faiss")
    flat = backend.build(codes, type="flat")
    began = time.perf_counter()
    mih = backend.build(codes, type="mih")
    size = int(mih.info()["bytes"]) / len(codes)  # which builds the tables
    seconds = time.perf_counter() - began
    expected, found = flat.search(queries, k), mih.search(queries, k)
    assert (expected.ids == found.ids).all()
    assert (expected.distances == found.distances).all()
    for count, call in ((1, _singles(queries[:singles], k)), (_BATCH, _batch(queries, k))):
        times: list[list[float]] = [[], []]
        for _ in range(rounds):
            for index, own in zip((flat, mih), times, strict=True):
                own.append(call(index))
        shown = (f"{statistics.median(own):.3f} ({min(own):.3f} to {max(own):.3f})" for own in times)
        ratio = statistics.median(one / other for one, other in zip(*times, strict=True))
        print(f"{what}| {count} | {' | '.join(shown)} | {ratio:.1f} | {seconds:.1f} | {size:.1f} |", flush=True)


def _singles(queries: NDArray[np.uint8], k: int) -> Callable[[Backend], float]:
    """Return the median milliseconds of a query when several are searched one after another."""

    def run(index: Backend) -> float:
        times = []
        for place in range(len(queries)):
            began = time.perf_counter()
            index.search(queries[place : place + 1], k)
            times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times)

    return run


def _batch(queries: NDArray[np.uint8], k: int) -> Callable[[Backend], float]:
    """Return the milliseconds of searching all queries in one call."""

    def run(index: Backend) -> float:
        began = time.perf_counter()
        index.search(queries, k)
        return 1000 * (time.perf_counter() - began)

    return run
