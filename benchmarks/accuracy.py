"""Accuracy against bytes per image: hash codes, float embeddings, and embeddings compressed in other ways."""

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
from transhash.encoding.outputs import encode_with_outputs
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
_SCORES_AT_ONCE = 1 << 22  # scores in memory at once
_CANDIDATE_BONUS = 3.0  # added to the scores of candidates, in [-1, 1]; all other rows score their negative distance

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Accuracy:
    """The settings of the suite.

    Attributes:
        at: R of mAP@R; 0 for the whole database.
        candidates: numbers of nearest codes to re-rank.
        fit: number of rows to fit ITQ to.
        iterations: iterations of ITQ.
        seed: seed of the order of the database, of ITQ and of LSH.
        methods: names of the methods, see `METHODS`.
        digits_bits: code lengths of the hashers that are trained on digits without --codes.
        digits_epochs: epochs of their training.
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
    """The rankings that a method produces.

    Attributes:
        bytes: bytes per image.
        levels: levels of all queries, block by block.
        hamming: whether a level is a Hamming distance in bits.
    """

    bytes: float
    levels: Iterator[Levels]
    hamming: bool = False


class NotMeasurable(Exception):
    """A method cannot be measured on these data; the message is the reason."""


@click.command("accuracy")
@suites.options("accuracy")
@suites.codes_option()
@click.option("--name", default="", help="Name of the data set in the report.")
def command(
    config_path: Path | None, small: bool, output: Path, pairs: Sequence[tuple[Path, Path]], name: str
) -> None:
    """Measure mAP@R, P@N, recall@N and curves of hash codes, float embeddings, and other codes of the same size.

    Each pair of --codes is another hasher, or another code length. Without --codes, small hashers are trained on the
    digits of scikit-learn, as in `th demo`.
    """
    chosen = config.load(Accuracy, "accuracy", small, config_path)
    for method in chosen.methods:
        if method not in METHODS:
            raise click.UsageError(f"no method {method!r}; available: {', '.join(METHODS)}")
    if not pairs:
        work = output.with_name(f"{output.name}.work")
        pairs = [digits.encoded(work / "digits", bits, chosen.digits_epochs) for bits in chosen.digits_bits]
        name = name or "digits"
    hashers = [Pair(*read_pair(*pair), chosen) for pair in pairs]
    for pair in hashers:
        if [other.model for other in hashers].count(pair.model) > 1:
            pair.params["hasher"] += f" {pair.digest}"
    settings = as_settings(chosen) | {
        "ties": "expected over all orders",
        "hashers": [pair.digest for pair in hashers],
        "databases": sorted({identity(pair.database.records) for pair in hashers}),
        "queries": sorted({identity(pair.queries.records) for pair in hashers}),
    }
    results = Results.open(output, "accuracy", "Accuracy against bytes per image", settings)
    for pair in hashers:
        measure(results, chosen, pair, name)


class Pair:
    """The codes and embeddings of a database and its queries, by one hasher.

    Attributes:
        chosen: settings of the suite.
        model: name of the hasher.
        digest: digest of the hasher.
        bits: bits per code.
        params: parameters that distinguish this pair from others in the report.
        database: codes of the database, shuffled, because their order decides which candidates at equal distance are
            re-ranked.
        queries: codes of the queries.
        vectors: embeddings of the database, (n, d) float32.
        query_vectors: embeddings of the queries, (q, d) float32.
    """

    def __init__(self, stored: EncodedSet, searched: EncodedSet, chosen: Accuracy) -> None:
        """Shuffle the database with the seed in `chosen`."""
        stored = shuffled(stored, chosen.seed)
        self.chosen = chosen
        self.model = stored.name
        self.digest = stored.digest
        self.bits = stored.file.model.bits
        self.params: dict[str, Any] = {"bits": self.bits, "hasher": self.model}
        self.database, self.queries = stored.file, searched.file
        self.vectors, self.query_vectors = stored.embeddings, searched.embeddings
        self._labels = common_labels(self.queries.records, self.database.records)

    @cached_property
    def outputs(self) -> NDArray[np.float32]:
        """The outputs of the hasher for the query images, (q, bits) float32.

        Raises NotMeasurable if the hasher or an image cannot be read.
        """
        from transhash.hashers.transhash import TransHasher

        try:
            hasher = TransHasher.load(self.queries.model.name)
            codes, outputs = encode_with_outputs(_paths(self.queries), hasher)
        except (OSError, TransHashError) as error:
            raise NotMeasurable(f"the queries' images and the hasher are needed: {error}") from None
        if hasher.ref.digest != self.queries.model.digest or codes.skipped:
            raise NotMeasurable("the hasher, or an image of the queries, is not what it was when they were encoded")
        return outputs

    @property
    def blocks(self) -> Iterator[slice]:
        """Blocks of queries whose scores fit into memory."""
        size = max(1, _SCORES_AT_ONCE // len(self.database))
        return (slice(start, start + size) for start in range(0, len(self.queries), size))

    def by_scores(self, score: Callable[[slice], Scores]) -> Iterator[Levels]:
        """Rank by scores, highest first; `score` returns those of a block of queries, (b, n)."""
        queries, database = self._labels
        return (score_levels(score(block), queries[block], database) for block in self.blocks)

    def by_codes(self, queries: NDArray[np.uint8], database: NDArray[np.uint8]) -> Iterator[Levels]:
        """Rank by the Hamming distance of packed codes."""
        query_labels, labels = self._labels
        yield Levels(*hamming.counts(queries, database, query_labels, labels))


def measure(results: Results, chosen: Accuracy, pair: Pair, name: str) -> None:
    """Measure the methods that the results do not contain yet for a hasher."""
    size = f"{len(pair.database):,} images"
    dataset = f"{name}, {size}" if name else size
    for method in chosen.methods:
        for label, params, ranked in METHODS[method](pair):
            full = figures.label(label, params)
            if results.has_row(dataset, full):
                continue
            try:
                retrieval, bytes_per_image = _ranked(ranked, chosen.at)
            except NotMeasurable as error:
                results.write([Skipped(results.run.id, dataset, full, str(error))])
                suites.show_progress(f"  {full}: skipped: {error}")
                continue
            records = _records(results.run.id, dataset, label, params, retrieval, bytes_per_image)
            results.write(records)
            suites.show_progress(f"  {full}: {bytes_per_image:g} bytes, mAP {retrieval.mean:.4f}")


def _ranked(ranked: Callable[[], Ranking], at: int) -> tuple[Retrieval, float]:
    """Run a method; return its retrieval metrics and the bytes per image."""
    ranking = ranked()
    retrieval = Retrieval(at or None, ranking.hamming)
    for levels in ranking.levels:
        retrieval.add(levels)
    return retrieval, ranking.bytes


def _records(
    run: str, dataset: str, label: str, params: dict[str, Any], retrieval: Retrieval, size: float
) -> list[Record]:
    """Return the curves and the row of a method."""
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


# Methods: each yields variants, as (label, distinguishing parameters, function that ranks).

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

        def score(block: slice) -> Scores:
            return np.stack([rerank.asymmetric_scores(output, pair.database.packed) for output in outputs[block]])

        return Ranking(pair.bits / 8, pair.by_scores(score))

    yield "TransHash, asymmetric", pair.params, ranking


def _reranked(pair: Pair) -> Iterator[Variant]:
    for count in pair.chosen.candidates:
        if count < len(pair.database):
            params = pair.params | {"candidates": count}
            yield "TransHash, then embeddings", params, partial(_candidates, pair, count)


def _candidates(pair: Pair, count: int) -> Ranking:
    found = hamming.top_k(pair.queries.packed, pair.database.packed, count)

    def score(block: slice) -> Scores:
        ranked = rerank.cosine(
            Nearest(found.ids[block], found.distances[block]), pair.query_vectors[block], pair.vectors
        )
        scores = -hamming.distances(pair.queries.packed[block], pair.database.packed).astype(np.float64)
        np.put_along_axis(scores, ranked.ids, ranked.scores + _CANDIDATE_BONUS, axis=1)
        return scores

    return Ranking(pair.bits / 8 + 2 * pair.vectors.shape[1], pair.by_scores(score))


def _floats(pair: Pair) -> Iterator[Variant]:
    numbers = pair.vectors.shape[1]
    params = {"numbers": numbers, "hasher": pair.params["hasher"]}
    yield _FLOATS, params, lambda: Ranking(2 * numbers, embedding_levels(pair.queries, pair.database))


def _quantized(pair: Pair) -> Iterator[Variant]:
    size, dim = pair.bits // 8, pair.vectors.shape[1]
    rotation = f"OPQ{size}_{4 * size}" if 4 * size <= dim else f"OPQ{size}"
    kinds = {  # np: without polysemous training, which an exact search does not use
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
        with suites.quiet():  # FAISS warns of few vectors per centroid in each of hundreds of clusterings
            index = faiss.index_factory(pair.vectors.shape[1], factory)
            index.train(pair.vectors)
            index.add(pair.vectors)
    except RuntimeError as error:
        raise NotMeasurable(f"FAISS: {one_line(error)}") from None

    def score(block: slice) -> Scores:
        distances, ids = index.search(pair.query_vectors[block], len(pair.database))
        scores = np.full(distances.shape, -np.inf, np.float32)
        np.put_along_axis(scores, ids, -distances, axis=1)
        return scores

    return Ranking(index.sa_code_size(), pair.by_scores(score))


def _projected(pair: Pair) -> Iterator[Variant]:
    for name in ("itq", "lsh"):
        yield name.upper(), pair.params, partial(_planes, pair, name)


def _planes(pair: Pair, name: str) -> Ranking:
    from transhash.training.projections import PROJECTIONS

    rng = np.random.default_rng(pair.chosen.seed)
    sample = rng.permutation(len(pair.vectors))[: pair.chosen.fit]
    try:
        planes, mean = PROJECTIONS[name](
            pair.vectors[sample].astype(np.float64), pair.bits, pair.chosen.iterations, rng
        )
    except TrainingError as error:
        raise NotMeasurable(str(error)) from None
    queries, database = (pack((vectors - mean) @ planes.T) for vectors in (pair.query_vectors, pair.vectors))
    return Ranking(pair.bits / 8, pair.by_codes(queries, database), True)


def _perceptual(pair: Pair) -> Iterator[Variant]:
    def ranking() -> Ranking:
        hasher = load_hasher("phash")
        queries, database = (_encoded(_paths(side), hasher) for side in (pair.queries, pair.database))
        return Ranking(8, pair.by_codes(queries, database), True)

    yield "perceptual hash", {"bits": 64}, ranking


def _encoded(paths: list[str], hasher: Any) -> NDArray[np.uint8]:
    try:
        codes = encode(paths, hasher)
    except TransHashError as error:
        raise NotMeasurable(f"the images are needed: {error}") from None
    if codes.skipped:
        raise NotMeasurable(f"the images are needed, and {len(codes.skipped)} of them cannot be read")
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
