"""What the demo compares: hash codes, float embeddings and a perceptual hash, on the same images."""

import base64
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transhash.codes import Codes
from transhash.datasets import digits
from transhash.encoding.run import BATCH_SIZE, encode
from transhash.evaluation import hamming_levels, score_levels
from transhash.evaluation.average_precision import average_precision
from transhash.evaluation.levels import Levels
from transhash.evaluation.precision import precision_at
from transhash.hashers import load_hasher
from transhash.hashers.transhash import TransHasher
from transhash.index.index import Index
from transhash.report.records import Picture
from transhash.sources import ImageList, Skipped, decode, list_images
from transhash.sources.lookahead import load

NEIGHBOURS = 10
TIMED_QUERIES = 100
_CUT = 8  # bytes: those of a 64-bit code


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    name: str
    bytes: int
    mean_ap: float
    precision: float
    latency_ms: float
    note: str


@dataclass(frozen=True)
class Results:
    """Everything that the report shows.

    Attributes:
        methods: the table; the hash codes first, the float embedding they come from second.
        examples: the first query of each class with its neighbours.
        worst: the query with the lowest average precision.
        encode_ms: median time to encode one preprocessed image.
        sizes: images in each part of the split.
    """

    methods: list[Method]
    examples: list[tuple[Picture, list[Picture]]]
    worst: tuple[Picture, list[Picture]]
    encode_ms: float
    sizes: dict[str, int]


def compare(folder: Path, queries_list: Path, database_list: Path, hasher_file: Path, index_folder: Path) -> Results:
    """Rank the database for every query by each method, on the same images and labels."""
    asked, stored = (list_images(folder, names) for names in (queries_list, database_list))
    hasher = TransHasher.load(hasher_file)
    index = Index.open(index_folder)
    queries, database = encode(asked, hasher), encode(stored, hasher)
    phash = load_hasher("phash")
    hashed, hashed_database = encode(asked, phash), encode(stored, phash)
    floats, floats_database = _embed(asked, hasher), _embed(stored, hasher)
    half = [part.astype(np.float16).astype(np.float32) for part in _principal(floats, floats_database, _CUT // 2)]
    small = _as_bytes(*_principal(floats, floats_database, _CUT))
    labels = _labels(asked), _labels(stored)

    levels = hamming_levels(queries, database)
    phash_index = Index.build(hashed_database)
    methods = [
        _method("TransHash, 64 bits", _CUT, levels, _time(queries.packed, index.search), "Hamming distance, FAISS"),
        _method(
            f"The same network's float embedding, {floats.shape[1]} × float32",
            floats.shape[1] * 4,
            score_levels(floats @ floats_database.T, *labels),
            _time(floats, _scan(floats_database)),
            "cosine, exact scan",
        ),
        _method(
            f"That embedding cut to {_CUT} bytes: {_CUT // 2} × float16",
            _CUT,
            score_levels(_nearness(*half), *labels),
            _time(half[0], _scan(half[1])),
            "principal components, Euclidean distance, exact scan",
        ),
        _method(
            f"That embedding cut to {_CUT} bytes: {_CUT} × int8",
            _CUT,
            score_levels(_nearness(*small), *labels),
            _time(small[0], _scan(small[1])),
            "principal components, each rounded to 256 steps of its range",
        ),
        _method(
            "Perceptual hash, 64 bits",
            _CUT,
            hamming_levels(hashed, hashed_database),
            _time(hashed.packed, phash_index.search),
            "no training: made for near-duplicates",
        ),
    ]
    ap = average_precision(levels)
    first = [int(place) for place in np.unique(labels[0], return_index=True)[1]]
    pixels = hasher.preprocess(decode.read(asked.path(asked.images[0])))[None]
    return Results(
        methods,
        [_example(index, queries, place) for place in first],
        _example(index, queries, int(ap.argmin())),
        _median_ms(lambda: hasher.encode(pixels), 20),
        {"queries": len(queries), "training": digits.TRAINING * len(first), "database": len(database)},
    )


def _method(name: str, size: int, levels: Levels, latency: float, note: str) -> Method:
    return Method(
        name, size, float(average_precision(levels).mean()), float(precision_at(levels, 10).mean()), latency, note
    )


def _embed(source: ImageList, hasher: TransHasher) -> NDArray[np.float32]:
    pixels = [item[1] for item in load(source, hasher.preprocess) if not isinstance(item, Skipped)]
    batches = range(0, len(pixels), BATCH_SIZE)
    return np.concatenate([hasher.embed(np.stack(pixels[start : start + BATCH_SIZE])) for start in batches])


def _principal(
    queries: NDArray[np.float32], database: NDArray[np.float32], components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Project both sides on the database's principal components."""
    from sklearn.decomposition import PCA

    pca = PCA(components, svd_solver="full").fit(database)
    return pca.transform(queries), pca.transform(database)


def _as_bytes(
    queries: NDArray[np.float32], database: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Round every component to 256 steps of its range in the database."""
    low = database.min(axis=0)
    step = (database.max(axis=0) - low) / 255

    def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(np.rint((values - low) / step), 0, 255) * step

    return rounded(queries), rounded(database)


def _nearness(queries: NDArray[np.float32], database: NDArray[np.float32]) -> NDArray[np.float32]:
    return -((queries[:, None] - database[None]) ** 2).sum(axis=2)


def _scan(database: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], Any]:
    """Return an exact scan by inner product: the least that a float search can cost in numpy."""

    def search(query: NDArray[np.float32]) -> NDArray[np.int64]:
        scores = (query @ database.T)[0]
        nearest = np.argpartition(-scores, NEIGHBOURS)[:NEIGHBOURS]
        return nearest[np.argsort(-scores[nearest])]

    return search


def _time(queries: NDArray[Any], search: Callable[[NDArray[Any]], Any]) -> float:
    """Return the median time of one query, in milliseconds."""
    single = [queries[place : place + 1] for place in range(min(len(queries), TIMED_QUERIES))]
    search(single[0])
    return statistics.median(_timed(search, query) for query in single)


def _median_ms(call: Callable[[], object], times: int) -> float:
    call()
    return statistics.median(_timed(lambda _: call(), None) for _ in range(times))


def _timed(call: Callable[[Any], object], argument: Any) -> float:
    started = time.perf_counter()
    call(argument)
    return (time.perf_counter() - started) * 1000


def _labels(source: ImageList) -> NDArray[np.int32]:
    return np.array([int(image.labels[0]) for image in source.images], dtype=np.int32)


def _example(index: Index, queries: Codes, place: int) -> tuple[Picture, list[Picture]]:
    (label,) = queries.records.names(place)
    ids, distances = index.search(queries.packed[place : place + 1], NEIGHBOURS).row(0)
    neighbours = [
        _picture(index.path(row), f"{distance}", index.labels(row) == (label,))
        for row, distance in zip(ids, distances, strict=True)
    ]
    return _picture(queries.records.path(place), f"digit {label}", True), neighbours


def _picture(path: str, caption: str, right: bool) -> Picture:
    return Picture(Path(path).name, caption, right, base64.b64encode(Path(path).read_bytes()).decode())
