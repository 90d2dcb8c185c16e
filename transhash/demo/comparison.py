"""The demo's second chapter: codes compared with their embedding, that embedding at the same size, and phash."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes, read_codes
from ..encoding.run import encode
from ..evaluation import hamming_levels, score_levels
from ..evaluation.average_precision import average_precision
from ..evaluation.levels import Levels
from ..evaluation.relevance import common_labels
from ..report import evaluated
from ..report.records import Measurement, Record, Run, TableRow
from ..sources import open_source
from .prepared import Demo

BYTES, SCORE = "bytes per image", "mAP@all"

Floats = NDArray[np.float32]


def compare(demo: Demo, seconds: float) -> tuple[list[Record], list[TableRow]]:
    """Return the records of a demo that took `seconds`, and the rows of its table among them, the codes first."""
    queries, database = (read_codes(demo.codes(part), embeddings=True) for part in ("queries", "database"))
    records = [
        _described(record, seconds) for record in evaluated.records(queries, database, "th demo", folder=demo.images)
    ]
    table = [record for record in records if isinstance(record, TableRow) and SCORE in record.values]
    size = database.model.bits // 8
    for method, family, levels in _other_methods(demo, queries, database, size):
        values = {BYTES: Measurement(size), SCORE: Measurement(float(average_precision(levels).mean()))}
        table.append(replace(table[0], method=method, family=family, params={}, values=values))
    return [*records, *table[2:]], table


def _described(record: Record, seconds: float) -> Record:
    if not isinstance(record, Run):
        return record
    return replace(
        record,
        title=f"Handwritten digits in 8 bytes each: {record.title.partition(': ')[2]}",
        settings={**record.settings, "seconds": round(seconds)},
    )


def _other_methods(demo: Demo, queries: Codes, database: Codes, size: int) -> Iterator[tuple[str, str, Levels]]:
    """Yield other methods of `size` bytes per image: name, family and ranking."""
    assert queries.embeddings is not None
    assert database.embeddings is not None
    floats = queries.embeddings.astype(np.float32), database.embeddings.astype(np.float32)
    labels = common_labels(queries.records, database.records)
    half = [part.astype(np.float16).astype(np.float32) for part in _principal(*floats, size // 2)]
    yield (
        f"embedding reduced to {size // 2} principal components, float16",
        "float",
        score_levels(_nearness(*half), *labels),
    )
    rounded = _rounded(*_principal(*floats, size))
    yield (
        f"embedding reduced to {size} principal components, int8",
        "float",
        score_levels(_nearness(*rounded), *labels),
    )
    query_codes, stored = (
        encode(open_source(demo.images, names=demo.names(part)), "phash") for part in ("queries", "database")
    )
    yield "perceptual hash", "peer", hamming_levels(query_codes, stored)


def _principal(queries: Floats, database: Floats, components: int) -> tuple[Floats, Floats]:
    """Project both sides on the database's principal components."""
    from sklearn.decomposition import PCA

    pca = PCA(components, svd_solver="full").fit(database)
    return pca.transform(queries), pca.transform(database)


def _rounded(queries: Floats, database: Floats) -> tuple[Floats, Floats]:
    """Quantize every component to 256 levels over its range in the database."""
    low = database.min(axis=0)
    step = (database.max(axis=0) - low) / 255

    def rounded(values: Floats) -> Floats:
        return np.clip(np.rint((values - low) / step), 0, 255) * step

    return rounded(queries), rounded(database)


def _nearness(queries: Floats, database: Floats) -> Floats:
    return -((queries[:, None] - database[None]) ** 2).sum(axis=2)
