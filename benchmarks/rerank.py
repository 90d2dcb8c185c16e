"""Re-ranking: what a finer order of the nearest codes buys, and what it costs."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from transhash import Codes, hamming
from transhash.codes import StringTable, read_codes
from transhash.evaluation import hamming_levels, score_levels
from transhash.evaluation.average_precision import average_precision
from transhash.evaluation.levels import Levels
from transhash.evaluation.precision import precision_at
from transhash.evaluation.relevance import common_labels
from transhash.hashers.transhash import TransHasher
from transhash.index import rerank
from transhash.index.local import LocalIndex
from transhash.results import Nearest

_BLOCK = 100  # queries whose scores are in memory at a time
_DEPTHS = (1, 10, 100)
_CANDIDATES = (100, 1000)
_K = 10
_TIMED = 100
_WARM_UP = 3
_ABOVE = 3.0  # added to a candidate's score, which is from -1 to 1: the others have minus their distance

Scores = NDArray[np.floating]
Rank = Callable[[slice, Nearest], rerank.ScoredNearest]


@click.command("rerank")
@click.argument("database", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("queries", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="Hasher.")
@click.option("--seed", default=0, show_default=True, help="Seed of the order of the database.")
def command(database: Path, queries: Path, model: Path, seed: int) -> None:
    """mAP and P@N before and after, for files of th encode --embeddings; the queries' images are encoded again.

    The database is shuffled first: a search for candidates leaves out some of the codes at the last distance, and
    which ones, their order decides.
    """
    stored = _shuffled(read_codes(database, embeddings=True), seed)
    asked = read_codes(queries, embeddings=True)
    if stored.embeddings is None or asked.embeddings is None:
        raise click.UsageError("no embeddings in these files; encode with --embeddings")
    images = [os.fsdecode(path) for path in asked.records.full_paths()]
    codes, outputs = rerank.encode(images, TransHasher.load(model))
    if codes.skipped:
        raise click.UsageError(f"{len(codes.skipped)} of the queries' images cannot be read")
    asked = replace(asked, packed=codes.packed)
    print(f"{len(asked)} queries, {len(stored)} codes of {stored.model.bits} bits, seed {seed}, ties exact")
    print(f"| order | {' | '.join(['mAP@all', *(f'P@{n}' for n in _DEPTHS)])} | ms per query, the search with it |")
    print("|---|" + "---:|" * (2 + len(_DEPTHS)))
    times = _times(asked, stored, outputs)
    for name, levels in _orders(asked, stored, outputs):
        figures = [np.concatenate([average_precision(block) for block in levels])]
        figures += [np.concatenate([precision_at(block, n) for block in levels]) for n in _DEPTHS]
        cost = f"{statistics.median(times[name]):.2f}" if name in times else ""
        print(f"| {name} | {' | '.join(f'{figure.mean():.4f}' for figure in figures)} | {cost} |", flush=True)


def _shuffled(codes: Codes, seed: int) -> Codes:
    """Return codes in memory in a random order."""
    order = np.random.default_rng(seed).permutation(len(codes))
    records, paths = codes.records, list(codes.records.full_paths())
    return replace(
        codes,
        packed=codes.packed[order],
        embeddings=None if codes.embeddings is None else codes.embeddings[order],
        records=replace(
            records,
            paths=StringTable.of([paths[row] for row in order]),
            root=b"",
            labels=None if records.labels is None else records.labels[order],
            sizes=None,
            mtimes=None,
        ),
    )


def _orders(asked: Codes, stored: Codes, outputs: NDArray[np.float32]) -> Iterator[tuple[str, list[Levels]]]:
    """Yield the name of an order and its levels, block by block of queries."""
    assert asked.embeddings is not None
    assert stored.embeddings is not None
    query_labels, labels = common_labels(asked.records, stored.records)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(asked), _BLOCK)]

    def levels(scored: Callable[[slice], Scores]) -> list[Levels]:
        return [score_levels(scored(own), query_labels[own], labels) for own in blocks]

    def candidates_first(rank: Rank, found: Nearest, own: slice) -> Scores:
        ranked = rank(own, Nearest(found.ids[own], found.distances[own]))
        scores = -hamming.distances(asked.packed[own], stored.packed).astype(np.float64)
        np.put_along_axis(scores, ranked.ids, ranked.scores + _ABOVE, axis=1)
        return scores

    yield "Hamming distance", [hamming_levels(asked, stored)]
    ranks = _ranks(asked, stored, outputs)
    for count in _CANDIDATES:
        found = LocalIndex.build(stored).search(asked, count)
        for name, rank in ranks.items():
            yield f"{name}, the nearest {count}", levels(partial(candidates_first, rank, found))
    vectors = asked.embeddings.astype(np.float32), stored.embeddings.astype(np.float32)
    yield (
        "asymmetric, all",
        levels(lambda own: np.stack([rerank.asymmetric_scores(output, stored.packed) for output in outputs[own]])),
    )
    yield "embeddings, all", levels(lambda own: vectors[0][own] @ vectors[1].T)


def _ranks(asked: Codes, stored: Codes, outputs: NDArray[np.float32]) -> dict[str, Rank]:
    """Return the functions that rank the matches of queries, by name."""
    assert asked.embeddings is not None
    assert stored.embeddings is not None
    queries, vectors = asked.embeddings, stored.embeddings
    return {
        "asymmetric": lambda own, found: rerank.asymmetric(found, outputs[own], stored.packed),
        "embeddings": lambda own, found: rerank.cosine(found, queries[own], vectors),
    }


def _times(asked: Codes, stored: Codes, outputs: NDArray[np.float32]) -> dict[str, list[float]]:
    """Return the milliseconds of single queries: the search, and the order of what it found; embeddings in memory."""
    index = LocalIndex.build(stored)

    def timed(count: int, rank: Rank | None = None) -> Callable[[int], object]:
        def one(place: int) -> object:
            own = slice(place, place + 1)
            found = index.search(asked.packed[own], count)
            return rank(own, found).first(_K) if rank else found

        return one

    ranks = _ranks(asked, stored, outputs)
    ranks["asymmetric"] = lambda own, found: rerank.by_outputs(index, found, outputs[own])  # with the index's codes
    searches = {f"{name}, the nearest {n}": timed(n, rank) for n in _CANDIDATES for name, rank in ranks.items()}
    return take_turns({"Hamming distance": timed(_K), **searches}, min(len(asked), _TIMED))


def take_turns(searches: dict[str, Callable[[int], object]], queries: int) -> dict[str, list[float]]:
    """Return the milliseconds of every query by every method, one method after the other for each query."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for place in range(-_WARM_UP, queries):
        for name, search in searches.items():
            started = time.perf_counter()
            search(place % queries)
            if place >= 0:
                times[name].append((time.perf_counter() - started) * 1000)
    return times
