"""Accuracy and cost of re-ranking the nearest codes."""

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
from transhash.encoding.outputs import encode_with_outputs
from transhash.evaluation import hamming_levels, score_levels
from transhash.evaluation.average_precision import average_precision
from transhash.evaluation.levels import Levels
from transhash.evaluation.precision import precision_at
from transhash.evaluation.relevance import common_labels
from transhash.hashers.transhash import TransHasher
from transhash.index import rerank
from transhash.index.local import LocalIndex
from transhash.results import Nearest

from . import suites

_BLOCK = 100  # queries scored at once
_DEPTHS = (1, 10, 100)
_CANDIDATES = (100, 1000)
_K = 10
_TIMED = 100
_WARM_UP = 3
_CANDIDATE_BONUS = 3.0  # added to the scores of candidates, in [-1, 1]; all other rows score their negative distance

Scores = NDArray[np.floating]
Rank = Callable[[slice, Nearest], rerank.ScoredNearest]


@click.command("rerank")
@click.argument("database", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("queries", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="Hasher.")
@click.option(
    "--seed", type=suites.SEED, default=0, show_default=True, help="Seed of the random order of the database."
)
def command(database: Path, queries: Path, model: Path, seed: int) -> None:
    """Measure mAP and P@N before and after re-ranking, for codes files of th encode --embeddings.

    The images of the queries are encoded again. The database is shuffled first, because its order decides which codes
    at the largest distance become candidates.
    """
    stored = _shuffled(read_codes(database, embeddings=True), seed)
    query_set = read_codes(queries, embeddings=True)
    if stored.embeddings is None or query_set.embeddings is None:
        raise click.UsageError("no embeddings in these files; encode with --embeddings")
    images = [os.fsdecode(path) for path in query_set.records.full_paths()]
    codes, outputs = encode_with_outputs(images, TransHasher.load(model))
    if codes.skipped:
        raise click.UsageError(f"{len(codes.skipped)} of the queries' images cannot be read")
    query_set = replace(query_set, packed=codes.packed)
    print(f"{len(query_set)} queries, {len(stored)} codes of {stored.model.bits} bits, seed {seed}, ties exact")
    print(f"| order | {' | '.join(['mAP@all', *(f'P@{n}' for n in _DEPTHS)])} | ms per query, including the search |")
    print("|---|" + "---:|" * (2 + len(_DEPTHS)))
    times = _times(query_set, stored, outputs)
    for name, levels in _orders(query_set, stored, outputs):
        figures = [np.concatenate([average_precision(block) for block in levels])]
        figures += [np.concatenate([precision_at(block, n) for block in levels]) for n in _DEPTHS]
        cost = f"{statistics.median(times[name]):.2f}" if name in times else ""
        print(f"| {name} | {' | '.join(f'{figure.mean():.4f}' for figure in figures)} | {cost} |", flush=True)


def _shuffled(codes: Codes, seed: int) -> Codes:
    """Return the codes in random order, in memory."""
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


def _orders(query_set: Codes, stored: Codes, outputs: NDArray[np.float32]) -> Iterator[tuple[str, list[Levels]]]:
    """Yield the name of each order and its levels, one element per block of queries."""
    assert query_set.embeddings is not None
    assert stored.embeddings is not None
    query_labels, labels = common_labels(query_set.records, stored.records)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(query_set), _BLOCK)]

    def levels(scored: Callable[[slice], Scores]) -> list[Levels]:
        return [score_levels(scored(block), query_labels[block], labels) for block in blocks]

    def candidates_first(rank: Rank, found: Nearest, block: slice) -> Scores:
        ranked = rank(block, Nearest(found.ids[block], found.distances[block]))
        scores = -hamming.distances(query_set.packed[block], stored.packed).astype(np.float64)
        np.put_along_axis(scores, ranked.ids, ranked.scores + _CANDIDATE_BONUS, axis=1)
        return scores

    yield "Hamming distance", [hamming_levels(query_set, stored)]
    ranks = _ranks(query_set, stored, outputs)
    for count in _CANDIDATES:
        found = LocalIndex.build(stored).search(query_set, count)
        for name, rank in ranks.items():
            yield f"{name}, the nearest {count}", levels(partial(candidates_first, rank, found))
    vectors = query_set.embeddings.astype(np.float32), stored.embeddings.astype(np.float32)
    yield (
        "asymmetric, all",
        levels(
            lambda block: np.stack([rerank.asymmetric_scores(output, stored.packed) for output in outputs[block]])
        ),
    )
    yield "embeddings, all", levels(lambda block: vectors[0][block] @ vectors[1].T)


def _ranks(query_set: Codes, stored: Codes, outputs: NDArray[np.float32]) -> dict[str, Rank]:
    """Return the functions that re-rank the matches of a block of queries, by name."""
    assert query_set.embeddings is not None
    assert stored.embeddings is not None
    queries, vectors = query_set.embeddings, stored.embeddings
    return {
        "asymmetric": lambda block, found: rerank.asymmetric(found, outputs[block], stored.packed),
        "embeddings": lambda block, found: rerank.cosine(found, queries[block], vectors),
    }


def _times(query_set: Codes, stored: Codes, outputs: NDArray[np.float32]) -> dict[str, list[float]]:
    """Return the milliseconds of single queries, including search and re-ranking, with embeddings in memory."""
    index = LocalIndex.build(stored)

    def timed(count: int, rank: Rank | None = None) -> Callable[[int], object]:
        def run(query: int) -> object:
            block = slice(query, query + 1)
            found = index.search(query_set.packed[block], count)
            return rank(block, found).first(_K) if rank else found

        return run

    ranks = _ranks(query_set, stored, outputs)
    # As in a search: the codes are read from the index.
    ranks["asymmetric"] = lambda block, found: rerank.by_outputs(index, found, outputs[block])
    searches = {f"{name}, the nearest {n}": timed(n, rank) for n in _CANDIDATES for name, rank in ranks.items()}
    return take_turns({"Hamming distance": timed(_K), **searches}, min(len(query_set), _TIMED))


def take_turns(searches: dict[str, Callable[[int], object]], queries: int) -> dict[str, list[float]]:
    """Return the milliseconds of every query for each method; the methods take turns query by query."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for place in range(-_WARM_UP, queries):
        for name, search in searches.items():
            started = time.perf_counter()
            search(place % queries)
            if place >= 0:
                times[name].append((time.perf_counter() - started) * 1000)
    return times
