"""Compare the index type `ivf` with `faiss.IndexBinaryIVF` in turns: the same file, lists, probes and queries."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import Codes, Index, ModelRef, hamming
from transhash.codes import Records

from . import suites
from .scan import clustered

_BATCH = 256
_SINGLES = 256  # queries searched one at a time, in each round, at most
_COMPARISONS = 1 << 24  # comparisons of codes in the single queries of a round
_DOUBLING = 2

Search = Callable[[NDArray[np.uint8]], object]


@click.command("ivf")
@click.option("-n", "count", type=suites.COUNT, default=1_000_000, show_default=True, help="Number of codes.")
@click.option("--bits", type=suites.BITS, default=64, show_default=True, help="Bits per code.")
@click.option("--nlist", type=suites.COUNT, help="Number of lists [default: that of the type].")
@click.option("--nprobe", "probes", type=suites.COUNT, multiple=True, help="Repeatable [default: 1, 2, 4, … nlist].")
@click.option("-k", type=suites.COUNT, default=10, show_default=True, help="Neighbours.")
@click.option(
    "--rounds", type=suites.COUNT, default=9, show_default=True, help="Rounds; each runs every method once."
)
def command(count: int, bits: int, nlist: int | None, probes: tuple[int, ...], k: int, rounds: int) -> None:
    """Time single queries and batches on one thread, and the build with all threads.

    Times are processor time, so that other programs on the machine matter little: the median (min to max) of the
    rounds. Ours is the search of the backend, as FAISS's is that of its Python class; `Index.search` also checks its
    arguments and makes the matches.
    """
    suites.check_neighbours([k], [count])
    codes, queries = clustered(count, bits, _BATCH)
    began = time.perf_counter()
    chosen = {} if nlist is None else {"nlist": nlist}
    index = Index.build(Codes(codes, Records([b""] * count), ModelRef("random", "", bits)), "ivf", chosen)
    built = time.perf_counter() - began
    with TemporaryDirectory() as folder:
        index.local.backend.save(Path(folder))
        theirs = faiss.read_index_binary(str(Path(folder, "index.faiss")))
    if max(probes, default=0) > theirs.nlist:
        raise click.UsageError(f"--nprobe {max(probes)}: more than the {suites.counted(theirs.nlist, 'list')}")
    os.environ["OMP_NUM_THREADS"] = "1"
    faiss.omp_set_num_threads(1)
    lists = suites.counted(theirs.nlist, "list")
    print(f"{suites.counted(count, 'clustered code')} of {bits} bits, {lists}, built in {built:.1f} s")
    print(f"k = {k}, {suites.counted(rounds, 'round')}, scan: {hamming.isa or 'numpy'}, faiss {faiss.__version__}\n")
    print(
        "| nprobe | queries | ours, µs per query | FAISS, µs per query | FAISS / ours | Index.search, µs per query |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    for nprobe in probes or _doubled(int(theirs.nlist)):
        theirs.nprobe = nprobe
        params = {"nprobe": nprobe}
        _check(index, theirs, queries, k, params)
        searches = _searches(index, theirs, k, params)
        singles = max(1, min(_SINGLES, _COMPARISONS * int(theirs.nlist) // (nprobe * count)))
        for size, asked in ((1, queries[:singles]), (_BATCH, queries)):
            print(f"| {nprobe:,} | {size} | {_compared(searches, asked, size, rounds)} |", flush=True)


def _doubled(nlist: int) -> list[int]:
    powers = [_DOUBLING**power for power in range(nlist.bit_length())]
    return [nprobe for nprobe in powers if nprobe < nlist] + [nlist]


def _check(
    index: Index, theirs: faiss.IndexBinaryIVF, queries: NDArray[np.uint8], k: int, params: dict[str, int]
) -> None:
    """Compare distances: of equal ones FAISS returns any, also of centroids, so a few may differ."""
    found, expected = index.local.backend.search(queries, k, params).distances, theirs.search(queries, k)[0]
    assert params["nprobe"] < theirs.nlist or np.array_equal(found, expected)
    assert abs(float(found.mean()) - float(expected.mean())) <= 1 or (expected > index.model.bits).any()


def _searches(index: Index, theirs: faiss.IndexBinaryIVF, k: int, params: dict[str, int]) -> list[Search]:
    return [
        lambda asked: index.local.backend.search(asked, k, params),
        lambda asked: theirs.search(asked, k),
        lambda asked: index.search(asked, k, params=params),
    ]


def _compared(searches: list[Search], queries: NDArray[np.uint8], size: int, rounds: int) -> str:
    """Run every search in each round; return the columns of a row of the table."""
    times: list[list[float]] = [[] for _ in searches]
    for _ in range(rounds):
        for search, own in zip(searches, times, strict=True):
            began = time.process_time()
            for start in range(0, len(queries), size):
                search(queries[start : start + size])
            own.append(1e6 * (time.process_time() - began) / len(queries))
    ours, faiss_, index = (f"{statistics.median(own):.1f} ({min(own):.1f} to {max(own):.1f})" for own in times)
    ratio = statistics.median(them / us for us, them in zip(times[0], times[1], strict=True))
    return f"{ours} | {faiss_} | {ratio:.2f} | {index}"
