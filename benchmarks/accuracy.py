"""Accuracy against bytes: hash codes, their float embeddings, and these cut to as few bytes in other ways."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from transhash import encode, hamming, load_hasher
from transhash.codes import Codes
from transhash.errors import TrainingError, TransHashError, one_line
from transhash.evaluation import Levels, identity, score_levels
from transhash.evaluation.curves import depths_to
from transhash.evaluation.embeddings import embedding_levels
from transhash.evaluation.relevance import common_labels
from transhash.index import rerank
from transhash.packing import pack
from transhash.report import figures
from transhash.report.records import Curve, Measurement, Record, Skipped, TableRow
from transhash.results import Nearest

from . import config, digits, suites
from .encoded import EncodedSet, read_pair, shuffled
from .retrieval import Retrieval
from .runs import Results, as_settings

_TABLE = "Accuracy"
_CELLS = 1 << 22  # scores in memory at a time
_ABOVE = 3.0  # added to a candidate's score, which is from -1 to 1: the others have minus their distance

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Accuracy:
    """The settings of the suite.

    Attributes:
        at: R of mAP@R; 0 for the whole database.
        candidates: how many of the nearest codes are put in a finer order.
        fit: rows that ITQ is fitted to.
        iterations: of ITQ.
        seed: of the order of the database, of ITQ and of LSH.
        methods: by name, see `METHODS`.
        digits_bits: widths of the hashers that are trained when no codes are given.
        digits_epochs: how long.
    """

    at: int
    candidates: list[int]
    fit: int
    iterations: int
    seed: int
    methods: list[str]
    digits_bits: list[int]
    digits_epochs: int


@dataclass(frozen=True)
class Ranking:
    """The outcome of a method.

    Attributes:
        bytes: that it needs for an image.
        levels: of some queries after the other.
        hamming: whether a level is a number of bits.
    """

    bytes: float
    levels: Iterator[Levels]
    hamming: bool = False


class Unable(Exception):
    """A method cannot be measured on these data; says why."""


@click.command("accuracy")
@suites.options("accuracy")
@suites.given_codes()
@click.option("--name", default="", help="Of the data set, for the report.")
def command(
    config_path: Path | None, small: bool, output: Path, pairs: Sequence[tuple[Path, Path]], name: str
) -> None:
    """MAP@R, P@N, recall@N and curves of hash codes, of their float embeddings, and of peers with as many bytes.

    Every pair of --codes is a hasher, or a width of one. Without any, small hashers are trained on the digits of
    scikit-learn, as `th demo` does.
    """
    chosen = config.load(Accuracy, "accuracy", small, config_path)
    for method in chosen.methods:
        if method not in METHODS:
            raise click.UsageError(f"no method {method!r}; available: {', '.join(METHODS)}")
    if not pairs:
        work = output.with_name(f"{output.name}.work")
        pairs = [digits.encoded(work / "digits", bits, chosen.digits_epochs) for bits in chosen.digits_bits]
        name = name or "digits"
    given = [Pair(*read_pair(*pair), chosen) for pair in pairs]
    for pair in given:
        if [other.model for other in given].count(pair.model) > 1:
            pair.params["hasher"] += f" {pair.digest}"
    settings = as_settings(chosen) | {
        "ties": "expected over all orders",
        "hashers": [pair.digest for pair in given],
        "databases": sorted({identity(pair.database.records) for pair in given}),
        "queries": sorted({identity(pair.queries.records) for pair in given}),
    }
    results = Results.open(output, "accuracy", "Accuracy against bytes per image", settings)
    for pair in given:
        measure(results, chosen, pair, name)


class Pair:
    """A database and its queries, of one hasher.

    Attributes:
        model: name of the hasher.
        digest: of the hasher.
        bits: of a code.
        params: what tells methods over this pair from those over another.
        database: codes, shuffled: where a search takes some of the codes at one distance, their order decides.
        queries: codes.
        vectors: embeddings of the database, (n, d) float32.
        asked: embeddings of the queries, (q, d) float32.
    """

    def __init__(self, stored: EncodedSet, asked: EncodedSet, chosen: Accuracy) -> None:
        """Put it together."""
        stored = shuffled(stored, chosen.seed)
        self.chosen = chosen
        self.model = stored.name
        self.digest = stored.digest
        self.bits = stored.file.model.bits
        self.params: dict[str, Any] = {"bits": self.bits, "hasher": self.model}
        self.database, self.queries = stored.file, asked.file
        self.vectors, self.asked = stored.embeddings, asked.embeddings
        self._labels = common_labels(self.queries.records, self.database.records)

    @cached_property
    def outputs(self) -> NDArray[np.float32]:
        """The hasher's outputs for the queries, (q, bits), from their images. Raises Unable without them."""
        from transhash.hashers.transhash import TransHasher

        try:
            hasher = TransHasher.load(self.queries.model.name)
            codes, outputs = rerank.encode(_paths(self.queries), hasher)
        except (OSError, TransHashError) as error:
            raise Unable(f"the queries' images and the hasher are needed: {error}") from None
        if hasher.ref.digest != self.queries.model.digest or codes.skipped:
            raise Unable("the hasher, or an image of the queries, is not what it was when they were encoded")
        return outputs

    @property
    def blocks(self) -> Iterator[slice]:
        """Queries whose scores fit into memory together."""
        size = max(1, _CELLS // len(self.database))
        return (slice(start, start + size) for start in range(0, len(self.queries), size))

    def by_scores(self, score: Callable[[slice], Scores]) -> Iterator[Levels]:
        """Rank by what `score` says of some queries and all rows, (q, n), highest first."""
        queries, database = self._labels
        return (score_levels(score(own), queries[own], database) for own in self.blocks)

    def by_codes(self, queries: NDArray[np.uint8], database: NDArray[np.uint8]) -> Iterator[Levels]:
        """Rank by Hamming distance."""
        asked, labels = self._labels
        yield Levels(*hamming.counts(queries, database, asked, labels))


def measure(results: Results, chosen: Accuracy, pair: Pair, name: str) -> None:
    """Measure what a results file does not hold of a hasher."""
    size = f"{len(pair.database):,} images"
    dataset = f"{name}, {size}" if name else size
    for method in chosen.methods:
        for label, params, ranked in METHODS[method](pair):
            full = figures.label(label, params)
            if results.has_row(dataset, full):
                continue
            try:
                retrieval, size_of_one = _ranked(ranked, chosen.at)
            except Unable as error:
                results.write([Skipped(results.run.id, dataset, full, str(error))])
                suites.say(f"  {full}: left out: {error}")
                continue
            records = _records(results.run.id, dataset, label, params, retrieval, size_of_one)
            results.write(records)
            suites.say(f"  {full}: {size_of_one:g} bytes, mAP {retrieval.mean:.4f}")


def _ranked(ranked: Callable[[], Ranking], at: int) -> tuple[Retrieval, float]:
    """Rank, and return the figures and the bytes of an image."""
    ranking = ranked()
    retrieval = Retrieval(at or None, ranking.hamming)
    for levels in ranking.levels:
        retrieval.add(levels)
    return retrieval, ranking.bytes


def _records(
    run: str, dataset: str, label: str, params: dict[str, Any], retrieval: Retrieval, size: float
) -> list[Record]:
    """Return the row and the curves of a ranking."""
    family = "codes" if label.startswith("TransHash") else "float" if label == _FLOATS else "peer"
    depths = depths_to(retrieval.depth)
    precision, recall = retrieval.at(depths)
    plots = (
        ("Precision and recall", "recall", "precision", recall),
        ("Precision of the first N", "N", "precision", [float(depth) for depth in depths]),
    )
    curves = [
        Curve(run, plot, dataset, label, family, params, x, y, list(zip(across, precision, strict=True)))
        for plot, x, y, across in plots
    ]
    values = {"bytes per image": Measurement(size), **retrieval.figures()}
    return [*curves, TableRow(run, _TABLE, dataset, label, family, params, values)]


# What is compared: each yields a label, what tells it from others of that label, and how to rank with it.

_FLOATS = "float embedding"

Variant = tuple[str, dict[str, Any], Callable[[], Ranking]]


def _codes(pair: Pair) -> Iterator[Variant]:
    yield (
        "TransHash",
        pair.params,
        lambda: Ranking(pair.bits / 8, pair.by_codes(pair.queries.packed, pair.database.packed), True),
    )


def _asymmetric(pair: Pair) -> Iterator[Variant]:
    def ranking() -> Ranking:
        outputs = pair.outputs

        def score(own: slice) -> Scores:
            return np.stack([rerank.asymmetric_scores(output, pair.database.packed) for output in outputs[own]])

        return Ranking(pair.bits / 8, pair.by_scores(score))

    yield "TransHash, asymmetric", pair.params, ranking


def _reranked(pair: Pair) -> Iterator[Variant]:
    for count in pair.chosen.candidates:
        if count < len(pair.database):
            params = pair.params | {"candidates": count}
            yield "TransHash, then embeddings", params, partial(_candidates, pair, count)


def _candidates(pair: Pair, count: int) -> Ranking:
    found = hamming.top_k(pair.queries.packed, pair.database.packed, count)

    def score(own: slice) -> Scores:
        ranked = rerank.cosine(Nearest(found.ids[own], found.distances[own]), pair.asked[own], pair.vectors)
        scores = -hamming.distances(pair.queries.packed[own], pair.database.packed).astype(np.float64)
        np.put_along_axis(scores, ranked.ids, ranked.scores + _ABOVE, axis=1)
        return scores

    return Ranking(pair.bits / 8 + 2 * pair.vectors.shape[1], pair.by_scores(score))


def _floats(pair: Pair) -> Iterator[Variant]:
    numbers = pair.vectors.shape[1]
    params = {"numbers": numbers, "hasher": pair.params["hasher"]}
    yield _FLOATS, params, lambda: Ranking(2 * numbers, embedding_levels(pair.queries, pair.database))


def _quantized(pair: Pair) -> Iterator[Variant]:
    size, dim = pair.bits // 8, pair.vectors.shape[1]
    rotation = f"OPQ{size}_{4 * size}" if 4 * size <= dim else f"OPQ{size}"
    kinds = {  # np: no polysemous training, which an exact search of product codes has no use for
        "PQ": f"PQ{size}np" if dim % size == 0 else f"PCA{dim // size * size},PQ{size}np",
        "OPQ": f"{rotation},PQ{size}np",
        "SQ, 4 bits": f"PCA{2 * size},SQ4",
        "PCA, int8": f"PCA{size},SQ8",
        "PCA, float16": f"PCA{size // 2},SQfp16",
        "RaBitQ": f"PCA{pair.bits},RR{pair.bits},RaBitQ",
    }
    for name, factory in kinds.items():
        yield name, pair.params, partial(_factory, pair, factory)


def _factory(pair: Pair, factory: str) -> Ranking:
    import faiss

    try:
        with suites.quiet():  # FAISS warns of few vectors a centroid, once for each of hundreds of clusterings
            index = faiss.index_factory(pair.vectors.shape[1], factory)
            index.train(pair.vectors)
            index.add(pair.vectors)
    except RuntimeError as error:
        raise Unable(f"FAISS: {one_line(error)}") from None

    def score(own: slice) -> Scores:
        asked = pair.asked[own]
        distances, ids = index.search(asked, len(pair.database))
        scores = np.full(distances.shape, -np.inf, np.float32)
        np.put_along_axis(scores, ids, -distances, axis=1)
        return scores

    return Ranking(index.sa_code_size(), pair.by_scores(score))


def _projected(pair: Pair) -> Iterator[Variant]:
    for name in ("itq", "lsh"):
        yield name.upper(), pair.params, partial(_planes, pair, name)


def _planes(pair: Pair, name: str) -> Ranking:
    from transhash.training.unsupervised import PROJECTIONS

    rng = np.random.default_rng(pair.chosen.seed)
    few = rng.permutation(len(pair.vectors))[: pair.chosen.fit]
    try:
        planes, mean = PROJECTIONS[name](pair.vectors[few].astype(np.float64), pair.bits, pair.chosen.iterations, rng)
    except TrainingError as error:
        raise Unable(str(error)) from None
    queries, database = (pack((vectors - mean) @ planes.T) for vectors in (pair.asked, pair.vectors))
    return Ranking(pair.bits / 8, pair.by_codes(queries, database), True)


def _perceptual(pair: Pair) -> Iterator[Variant]:
    def ranking() -> Ranking:
        hasher = load_hasher("phash")
        queries, database = (_seen(_paths(side), hasher) for side in (pair.queries, pair.database))
        return Ranking(8, pair.by_codes(queries, database), True)

    yield "perceptual hash", {"bits": 64}, ranking


def _seen(paths: list[str], hasher: Any) -> NDArray[np.uint8]:
    try:
        codes = encode(paths, hasher)
    except TransHashError as error:
        raise Unable(f"the images are needed: {error}") from None
    if codes.skipped:
        raise Unable(f"the images are needed, and {len(codes.skipped)} of them cannot be read")
    return codes.packed


def _paths(codes: Codes) -> list[str]:
    return [os.fsdecode(path) for path in codes.records.full_paths()]


METHODS: dict[str, Callable[[Pair], Iterator[Variant]]] = {
    "codes": _codes,
    "asymmetric": _asymmetric,
    "reranked": _reranked,
    "floats": _floats,
    "quantized": _quantized,
    "projected": _projected,
    "perceptual": _perceptual,
}
