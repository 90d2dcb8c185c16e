"""Find the connected components of near codes, as `th dedup` does, compared with other methods."""

import statistics
import time
from collections.abc import Callable

import click
import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from transhash import hamming, native
from transhash.duplicates import components, linking
from transhash.report.figures import plain

from . import suites
from .scan import clustered

_COPIES = 0.1  # share of the uniformly distributed codes of which there is a near copy
_FLIPPED = 0.03  # share of the bits of a copy that differ
_MOST_BY_FAISS = 100_000  # codes, all of which are compared with each other
_SAMPLE = 1_000  # codes whose neighbours are counted

Codes = NDArray[np.uint8]
Labels = NDArray[np.int64]


@click.command("dedup")
@click.option("-n", "count", type=suites.COUNT, default=2_000_000, show_default=True, help="Codes.")
@click.option(
    "--bits", type=suites.BITS, multiple=True, default=(64, 256), show_default=True, help="Bits per code; repeatable."
)
@click.option(
    "--radius",
    "radii",
    type=suites.RADIUS,
    multiple=True,
    default=(2, 4, 8, 16),
    show_default=True,
    help="Bits; repeatable.",
)
@click.option(
    "--fewer", type=suites.COUNT, default=50_000, show_default=True, help="Codes of the comparison with other ways."
)
@click.option(
    "--rounds",
    type=suites.COUNT,
    default=3,
    show_default=True,
    help="Rounds of the comparison; each runs every way once.",
)
@click.option(
    "--data", type=click.Choice(["uniform", "clustered"]), multiple=True, default=("uniform", "clustered"),
    show_default=True, help="Artificial codes; repeatable.",
)  # fmt: skip
def command(
    count: int, bits: tuple[int, ...], radii: tuple[int, ...], fewer: int, rounds: int, data: tuple[str, ...]
) -> None:
    """Time `transhash.duplicates.components` over uniform codes with copies, and over clustered codes.

    Then, with fewer codes, compare three ways to the same components. "join" is the compiled code that `components`
    uses. "groups" searches among the codes that are equal in one of R + 1 parts, as `components` does where that is
    missing. "FAISS" is a range search for every code with `faiss.IndexBinaryFlat`, up to 100,000 codes.
    The ratios are medians within rounds.
    """
    suites.check_radii(radii, bits)
    faiss.omp_set_num_threads(native.threads())
    print(
        f"{suites.counted(native.threads(), 'thread')}, scan: {hamming.isa or 'numpy'}, faiss {faiss.__version__}\n"
    )
    cases = [(width, name, radius) for width in bits for name in data for radius in radii]
    print("| codes | bits | data | radius | seconds | processor, s | components | near pairs |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|")
    for width, name, radius in cases:
        codes = _DATA[name](count, width)
        began, worked = time.perf_counter(), time.process_time()
        found = components(codes, radius)
        spent = f"{plain(time.perf_counter() - began)} | {plain(time.process_time() - worked)}"
        pairs = f"{_near_pairs(codes, radius):.1e}"
        print(f"| {count:,} | {width} | {name} | {radius} | {spent} | {found.max() + 1:,} | {pairs} |", flush=True)
    print("\n| codes | bits | data | radius | join, s | groups, s | FAISS, s | groups / join | FAISS / join |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    for width, name, radius in cases:
        print(f"| {fewer:,} | {width} | {name} | {radius} {_compared(_DATA[name](fewer, width), radius, rounds)}")


def _copied(count: int, bits: int) -> Codes:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (count, bits // 8), dtype=np.uint8)
    copies = int(_COPIES * count)
    codes[count - copies :] = codes[:copies] ^ np.packbits(rng.random((copies, bits)) < _FLIPPED, axis=1)
    return codes


_DATA: dict[str, Callable[[int, int], Codes]] = {
    "uniform": _copied,
    "clustered": lambda count, bits: clustered(count, bits, 0)[0],
}


def _near_pairs(codes: Codes, radius: int) -> float:
    """Return the number of pairs within the radius, estimated from the neighbours of a sample."""
    sample = np.random.default_rng(0).choice(codes, min(_SAMPLE, len(codes)), replace=False)
    return (hamming.within(sample, codes, radius).offsets[-1] / len(sample) - 1) * len(codes) / 2


def _by_faiss(codes: Codes, radius: int) -> Labels:
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    limits, _, ids = index.range_search(codes, radius + 1)
    graph = csr_array((np.ones(len(ids), np.bool_), ids, limits.astype(np.int64)), shape=(len(codes), len(codes)))
    labels: Labels = connected_components(graph)[1].astype(np.int64)
    return labels


def _compared(codes: Codes, radius: int, rounds: int) -> str:
    """Return the medians of the times of all ways, and the medians of the ratios within rounds."""
    codes = np.unique(codes, axis=0)
    ways = [linking.connected, linking.connected_in_groups, _by_faiss][: 3 if len(codes) <= _MOST_BY_FAISS else 2]
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        found = []
        for way, own in zip(ways, times, strict=True):
            began = time.perf_counter()
            found.append(way(codes, radius))
            own.append(time.perf_counter() - began)
        assert len({labels.max() for labels in found}) == 1
    seconds = [plain(statistics.median(own)) for own in times]
    ratios = [plain(statistics.median(np.divide(other, times[0]))) for other in times[1:]]
    empty = [""] * (3 - len(ways))
    return "".join(f"| {cell} " for cell in [*seconds, *empty, *ratios, *empty]) + "|"
