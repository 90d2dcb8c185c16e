"""Compare the exact index types `flat` and `mih` in turns: the same codes, queries and answers."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import click
import numpy as np
from click.core import ParameterSource
from numpy.typing import NDArray

from transhash import backends, hamming, native, read_codes, results
from transhash.backends import Backend
from transhash.errors import ResultsError

from . import suites
from .scan import clustered

_BATCH = 256
_NEIGHBOURS = 10
_GROW = (
    "A codes file: measure real codes, grown to each number, instead of artificial ones. Excludes --bits and --data."
)

Rows = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Codes and queries."""

Found = results.Nearest | results.Within
Search = Callable[[Backend, NDArray[np.uint8]], Found]


@click.command("exact")
@click.option(
    "-n",
    "counts",
    type=suites.COUNT,
    multiple=True,
    default=(1_000_000,),
    show_default=True,
    help="Codes; repeatable.",
)
@click.option(
    "--bits", type=suites.BITS, multiple=True, default=(64,), show_default=True, help="Bits per code; repeatable."
)
@click.option(
    "-k", "ks", type=suites.COUNT, multiple=True, default=(10,), show_default=True, help="Neighbours; repeatable."
)
@click.option("--radius", "radii", type=suites.RADIUS, multiple=True, help="Bits of a radius search; repeatable.")
@click.option("--rounds", type=suites.COUNT, default=5, show_default=True, help="Rounds; each runs both types once.")
@click.option(
    "--singles",
    type=suites.COUNT,
    default=100,
    show_default=True,
    help="Queries searched one at a time, in each round.",
)
@click.option(
    "--data", type=click.Choice(["clustered", "uniform"]), multiple=True, default=("clustered", "uniform"),
    show_default=True, help="Artificial codes; repeatable.",
)  # fmt: skip
@click.option("--grow", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help=_GROW)
@click.pass_context
def command(
    ctx: click.Context,
    counts: tuple[int, ...],
    bits: tuple[int, ...],
    ks: tuple[int, ...],
    radii: tuple[int, ...],
    rounds: int,
    singles: int,
    data: tuple[str, ...],
    file: Path | None,
) -> None:
    """Time single queries and a batch with the types flat and mih, over clustered and uniformly random codes.

    Times are wall times, and repeated searches find the codes in the processor's cache if they fit into it. Builds
    are those of mih, and bytes per code are its memory, codes included.
    """
    made: list[tuple[str, Callable[[], Rows]]]
    suites.check_neighbours(ks, counts)
    if file:
        for name in ("bits", "data"):
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise click.UsageError(f"--{name} has no effect with --grow: pass one of them")
        real = _real(file, counts)
        suites.check_radii(radii, [8 * real.shape[1]])
        made = [("grown", partial(_grown, real, count)) for count in counts]
    else:
        suites.check_radii(radii, bits)
        made = [
            (name, partial(clustered if name == "clustered" else _uniform, count, width, _BATCH))
            for count, width, name in product(counts, bits, data)
        ]
    threads = suites.counted(native.threads(), "thread")
    scan = f"scan: {hamming.isa or 'numpy'}"
    print(f"{threads}, {scan}, {suites.counted(rounds, 'round')}; wall time: median (min to max)")
    print("repeated searches find in the cache what fits into it\n")
    print("| codes | bits | data | search | queries | flat, ms | mih, ms | flat / mih | build, s | bytes per code |")
    print("|---:|---:|---|---|---:|---:|---:|---:|---:|---:|")
    searches: list[Search] = [*map(Nearest, ks), *map(Within, radii)]
    for name, make in made:
        codes, queries = make()
        flat, mih, built = _build(codes)
        for search in searches:
            what = f"| {len(codes):,} | {8 * codes.shape[1]} | {name} | {search} "
            _compare(what, built, (flat, mih), search, queries, rounds, singles)


def _real(file: Path, counts: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the codes of a file. Raises ResultsError if they are too few to grow, or too many for `counts`."""
    real: NDArray[np.uint8] = read_codes(file).packed
    if len(real) <= _BATCH + _NEIGHBOURS:
        raise ResultsError(
            f"{file}: {suites.counted(len(real), 'code')}; --grow needs at least {_BATCH + _NEIGHBOURS + 1}: "
            f"{_BATCH} queries, and a code with {_NEIGHBOURS} neighbours"
        )
    if len(real) - _BATCH > min(counts):
        raise ResultsError(
            f"{file}: {len(real):,} codes, of which {_BATCH} are queries; pass -n {len(real) - _BATCH} or more"
        )
    return real


def _grown(real: NDArray[np.uint8], count: int) -> Rows:
    """Return `count` codes, and real codes that are not among them as queries.

    The first are real. Each further one is a random real code, with the bits flipped in which another real code
    differs from one of its ten nearest neighbours.
    """
    rng = np.random.default_rng(0)
    real = real[rng.permutation(len(real))]
    queries, real = real[:_BATCH], real[_BATCH:]
    near = _neighbours(real)
    rows, pairs = rng.integers(len(real), size=(2, count - len(real)))
    others = near[pairs, rng.integers(_NEIGHBOURS, size=len(pairs))]
    return np.concatenate([real, real[rows] ^ real[pairs] ^ real[others]]), queries


def _neighbours(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the positions of the ten nearest other codes of each code, (n, 10)."""
    near = hamming.top_k(codes, codes, _NEIGHBOURS + 1).ids
    others = near != np.arange(len(codes))[:, None]
    others[others.all(axis=1), -1] = False  # the code itself comes after equal ones, and was not found
    return near[others].reshape(len(codes), _NEIGHBOURS)


def _uniform(count: int, bits: int, queries: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (count + queries, bits // 8), dtype=np.uint8)
    return drawn[:count], drawn[count:]


@dataclass(frozen=True)
class Nearest:
    """A search for the `k` nearest codes."""

    k: int

    def __call__(self, index: Backend, queries: NDArray[np.uint8]) -> Found:
        """Search."""
        return index.search(queries, self.k)

    def __str__(self) -> str:
        """Name the search in a table."""
        return f"k = {self.k}"


@dataclass(frozen=True)
class Within:
    """A search for all codes within a radius."""

    radius: int

    def __call__(self, index: Backend, queries: NDArray[np.uint8]) -> Found:
        """Search."""
        return index.range_search(queries, self.radius)

    def __str__(self) -> str:
        """Name the search in a table."""
        return f"radius {self.radius}"


def _build(codes: NDArray[np.uint8]) -> tuple[Backend, Backend, str]:
    """Build both types; return them, and what the table says about the build of mih."""
    backend = backends.load("faiss")
    flat = backend.build(codes, type="flat")
    began = time.perf_counter()
    mih = backend.build(codes, type="mih")
    size = int(mih.info()["bytes"]) / len(codes)  # which builds the tables
    return flat, mih, f"{time.perf_counter() - began:.1f} | {size:.1f}"


def _compare(
    what: str,
    built: str,
    types: tuple[Backend, Backend],
    search: Search,
    queries: NDArray[np.uint8],
    rounds: int,
    singles: int,
) -> None:
    expected, found = (search(index, queries) for index in types)
    assert np.array_equal(expected.ids, found.ids)
    assert np.array_equal(expected.distances, found.distances)
    for count, asked in ((1, queries[:singles]), (len(queries), queries)):
        times: list[list[float]] = [[], []]
        for _ in range(rounds):
            for index, own in zip(types, times, strict=True):
                own.append(_milliseconds(index, search, asked, count))
        shown = (f"{statistics.median(own):.3f} ({min(own):.3f} to {max(own):.3f})" for own in times)
        ratio = statistics.median(one / other for one, other in zip(*times, strict=True))
        print(f"{what}| {count} | {' | '.join(shown)} | {ratio:.1f} | {built} |", flush=True)


def _milliseconds(index: Backend, search: Search, queries: NDArray[np.uint8], count: int) -> float:
    """Return the median time of a search for `count` queries, over all of them."""
    times = []
    for place in range(0, len(queries), count):
        began = time.perf_counter()
        search(index, queries[place : place + count])
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)
