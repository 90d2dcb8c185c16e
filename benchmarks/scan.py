"""Compare the exact scan of packed codes with that of FAISS, and with the time to read the codes once."""

import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import click
import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import hamming, native
from transhash.report.figures import plain

from . import methods, suites
from .methods import numkong

_CENTRES = 2_000
_HALVINGS = 3  # each bit differs from its centre with probability 1/2³
_BATCH = 256


@click.command("scan")
@click.option("-n", "count", type=suites.COUNT, default=10_000_000, show_default=True, help="Number of codes.")
@click.option(
    "--bits",
    type=suites.BITS,
    multiple=True,
    default=(64, 128, 256),
    show_default=True,
    help="Bits per code; repeatable.",
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
    "--rounds", type=suites.COUNT, default=7, show_default=True, help="Rounds; each runs every method once."
)
@click.option("--threads", type=suites.COUNT, help="Threads of every method [default: all cores].")
@click.option(
    "--avx2", is_flag=True, help="Restrict both to AVX2, as on processors without AVX-512; x86-64 with AVX2 only."
)
def command(
    count: int, bits: tuple[int, ...], ks: tuple[int, ...], rounds: int, threads: int | None, avx2: bool
) -> None:
    """Time one query and a batch with the compiled scan and with `faiss.IndexBinaryFlat`, over the same codes.

    NumKong's packed kernels, if they are installed, only write all distances: selecting the nearest is not timed.
    The last column divides the time to read all codes once by that of the scan; if the codes fit into the processor's
    cache, both read them from there, not from memory.
    """
    suites.check_neighbours(ks, [count])
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    faiss.omp_set_num_threads(native.threads())
    if avx2:
        _restrict()
    what = "processor time" if _clock() is time.process_time else "wall time"
    numbers = (count, "clustered code"), (native.threads(), "thread"), (rounds, "round")
    print(f"{', '.join(suites.counted(*number) for number in numbers)}; {what}: median (min to max)")
    print(f"{platform.machine()}, scan: {hamming.isa or 'numpy'}, faiss {faiss.__version__}: ", end="")
    print(f"{faiss.get_compile_options().strip()}\n")
    print(
        "| bits | queries | k | scan, ms | FAISS, ms | FAISS / scan | NumKong / scan | G codes/s "
        "| of the read bandwidth |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for width in bits:
        codes, queries = clustered(count, width, _BATCH)
        index = faiss.IndexBinaryFlat(width)
        index.add(codes)
        stored = faiss.rev_swig_ptr(index.xb.data(), codes.size).reshape(codes.shape)
        del codes
        blocks = [] if methods.missing(numkong.Exact, "") else numkong.packed(stored)
        for query_count in (1, _BATCH):
            for k in ks:
                _compare(index, stored, blocks, queries[:query_count], k, rounds)


def _restrict() -> None:
    if "avx2" not in native.isas:
        raise click.UsageError("--avx2: this machine or installation has no scan for AVX2; leave the option out")
    hamming.isa = "avx2"
    faiss.SIMDConfig.set_level(faiss.SIMDLevel_AVX2)


def clustered(count: int, bits: int, queries: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw packed codes (count, bits/8) and queries (queries, bits/8) around common centres, like codes of images."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (_CENTRES, bits // 8), dtype=np.uint8)

    def draw(number: int) -> NDArray[np.uint8]:
        noise = np.full((number, bits // 8), 255, dtype=np.uint8)
        for _ in range(_HALVINGS):
            noise &= rng.integers(0, 256, noise.shape, dtype=np.uint8)
        return centres[rng.integers(_CENTRES, size=number)] ^ noise

    return draw(count), draw(queries)


def _compare(
    index: faiss.IndexBinaryFlat,
    codes: NDArray[np.uint8],
    blocks: list[object],
    queries: NDArray[np.uint8],
    k: int,
    rounds: int,
) -> None:
    found, expected = hamming.top_k(queries, codes, k), index.search(queries, k)
    assert (found.ids == expected[1]).all()
    assert (found.distances == expected[0]).all()
    times = _take_turns(
        [
            lambda: hamming.top_k(queries, codes, k),
            lambda: index.search(queries, k),
            lambda: read(codes),
            lambda: _all_distances(queries, blocks),
        ],
        rounds,
        lambda: read(codes),  # each finds in the cache what fits, whatever ran before
    )
    scan, faiss_ms, *_ = (
        f"{plain(1000 * statistics.median(part))} ({plain(1000 * min(part))} to {plain(1000 * max(part))})"
        for part in times
    )
    ratio, share, kernels = (
        statistics.median(other / ours for ours, other in zip(times[0], others, strict=True)) for others in times[1:]
    )
    speed = len(queries) * len(codes) / statistics.median(times[0]) / 1e9
    bandwidth = f"{share:.2f}" if len(queries) == 1 else ""
    print(
        f"| {codes.shape[1] * 8} | {len(queries)} | {k} | {scan} | {faiss_ms} "
        f"| {ratio:.1f} | {f'{kernels:.1f}' if blocks else ''} | {speed:.1f} | {bandwidth} |",
        flush=True,
    )


def _all_distances(queries: NDArray[np.uint8], blocks: list[object]) -> None:
    with ThreadPoolExecutor(native.threads()) as pool:
        deque(pool.map(partial(numkong.distances_to, queries), blocks), maxlen=0)


def read(codes: NDArray[np.uint8]) -> None:
    """Read all codes once with as many threads as a scan uses: a lower bound on the time of a scan."""
    words = codes.reshape(-1)[: codes.size // 8 * 8].view(np.uint64)
    with ThreadPoolExecutor(native.threads()) as pool:
        list(pool.map(np.bitwise_or.reduce, np.array_split(words, native.threads())))


def _take_turns(calls: list[Callable[[], object]], rounds: int, before: Callable[[], object]) -> list[list[float]]:
    """Run all calls in every round, each after `before`; return the seconds of each call, round by round."""
    clock = _clock()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, seconds in zip(calls, times, strict=True):
            before()
            started = clock()
            call()
            seconds.append(clock() - started)
    return times


def _clock() -> Callable[[], float]:
    """Return the clock: with one thread that of the processor, so that other programs matter little."""
    return time.process_time if native.threads() == 1 else time.perf_counter
