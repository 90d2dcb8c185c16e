"""Collections to search: vectors, generated block by block, and their codes, the signs of projections.

Both kinds have clusters, like embeddings of images. `Clustered` needs no data. `Grown` starts with the embeddings of
real images and continues with similar vectors. See ``docs/benchmarks.md``.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from transhash import hamming
from transhash.packing import pack, unpack

Vectors = NDArray[np.float32]
Codes = NDArray[np.uint8]

BLOCK = 1 << 16  # rows generated at once
_CENTRES = 1000
_NOISE = 0.7  # standard deviation of the noise per dimension; that of the centres is 1
_ANCHORS = 2000  # rows whose neighbours are searched
_NEIGHBOURS = 10


class Origin(Protocol):
    """A reproducible source of vectors of unit length.

    Attributes:
        name: name in reports.
        planes: (bits, d) float32; bit j of x is 1 if planes[j] · x + offsets[j] > 0.
        offsets: (bits,) float32.
        queries: (q, d) float32.
    """

    name: str
    planes: Vectors
    offsets: Vectors
    queries: Vectors

    def block(self, number: int) -> Vectors:
        """Return rows `number`·BLOCK to (`number` + 1)·BLOCK, (BLOCK, d); the same rows in every call."""
        ...


def codes(origin: Origin, vectors: Vectors) -> Codes:
    """Return the packed codes (n, bits/8) of vectors (n, d)."""
    return pack(vectors @ origin.planes.T + origin.offsets)


class Clustered:
    """Vectors around 1,000 centres, and codes from random planes through the origin."""

    name = "clustered"

    def __init__(self, dim: int, bits: int, queries: int, seed: int) -> None:
        """Draw the centres, the planes and the queries."""
        rng = np.random.default_rng(seed)
        self._seed = seed
        self._centres = rng.standard_normal((_CENTRES, dim), dtype=np.float32)
        self.planes = rng.standard_normal((bits, dim), dtype=np.float32)
        self.offsets = np.zeros(bits, np.float32)
        self.queries = self._draw(rng, queries)

    def block(self, number: int) -> Vectors:
        """Return one block of vectors in random clusters, (BLOCK, d)."""
        return self._draw(np.random.default_rng([self._seed, number]), BLOCK)

    def _draw(self, rng: np.random.Generator, count: int) -> Vectors:
        vectors = _NOISE * rng.standard_normal((count, self._centres.shape[1]), dtype=np.float32)
        vectors += self._centres[rng.integers(len(self._centres), size=count)]
        return unit(vectors)


class Grown:
    """Embeddings of images, followed by synthetic ones that are similar.

    A synthetic vector is a random embedding plus the difference of two neighbours, scaled by 0.5 to 1.5.

    Attributes:
        name: name in reports.
        planes: (bits, d) float32, fitted to the codes.
        offsets: (bits,) float32.
        queries: (q, d) float32.
        kept: share of the variance that the principal components retain.
        reproduced: share of the bits of the codes that the planes reproduce.
    """

    def __init__(self, name: str, embeddings: Vectors, codes: Codes, queries: Vectors, dim: int, seed: int) -> None:
        """Reduce embeddings (n, d) and queries (q, d) to `dim` dimensions, and fit planes to codes (n, bits/8).

        The planes are a least-squares fit to the bits as ±1.
        """
        self.name = f"{name}, grown"
        self._seed = seed
        mean = embeddings.mean(axis=0)
        components, self.kept = _components(embeddings - mean, dim)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(embeddings))
        self._rows = unit((embeddings[order] - mean) @ components)
        self.queries = unit((queries - mean) @ components)
        signs = unpack(codes[order]).astype(np.float32)
        wide = np.column_stack([self._rows, np.ones(len(self._rows), np.float32)])
        solved = np.linalg.lstsq(wide.T @ wide, wide.T @ signs, rcond=None)[0]
        self.planes, self.offsets = np.ascontiguousarray(solved[:-1].T), solved[-1]
        self.reproduced = float(np.mean((wide @ solved > 0) == (signs > 0)))
        self._anchors, self._near = _neighbours(self._rows, rng)

    def block(self, number: int) -> Vectors:
        """Return a block of the real rows in random order, followed by synthetic rows, (BLOCK, d)."""
        real = self._rows[number * BLOCK : (number + 1) * BLOCK]
        grown = self.grow(BLOCK - len(real), np.random.default_rng([self._seed, number]))[1]
        return np.concatenate([real, grown])

    def grow(self, count: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
        """Draw `count` real rows; return them and the synthetic rows made from them, (count, d) each."""
        rows = self._rows[rng.integers(len(self._rows), size=count)]
        pair = rng.integers(len(self._anchors), size=count)
        near = self._near[pair, rng.integers(self._near.shape[1], size=count)]
        length = rng.uniform(0.5, 1.5, (count, 1)).astype(np.float32)  # avoids duplicates
        return rows, unit(rows + length * (self._rows[near] - self._rows[self._anchors[pair]]))

    def differing(self) -> tuple[float, float]:
        """Return the share of bits that differ between real neighbours, and between real and derived rows."""
        rows, grown = self.grow(_ANCHORS * _NEIGHBOURS, np.random.default_rng(self._seed))
        anchors = np.repeat(self._anchors, self._near.shape[1])
        return self._share(self._rows[anchors], self._rows[self._near.ravel()]), self._share(rows, grown)

    def _share(self, left: Vectors, right: Vectors) -> float:
        bits = np.bitwise_count(codes(self, left) ^ codes(self, right)).sum()
        return float(bits) / (len(left) * len(self.planes))


@dataclass(frozen=True)
class Collection:
    """Rows and queries in a folder of .npy files; the rows are memory-mapped.

    Attributes:
        folder: folder of the codes, the vectors (optional), and the codes and vectors of the queries.
        count: number of rows.
        bits: bits per code.
        dim: dimensions of a vector.
    """

    folder: Path
    count: int
    bits: int
    dim: int

    @property
    def codes(self) -> Codes:
        """The packed codes, (n, bits/8)."""
        return np.load(self.folder / "codes.npy", mmap_mode="r")

    @property
    def vectors(self) -> Vectors:
        """The vectors, (n, d)."""
        return np.load(self.folder / "vectors.npy", mmap_mode="r")

    @property
    def query_codes(self) -> Codes:
        """The packed codes of the queries, (q, bits/8)."""
        return np.load(self.folder / "query_codes.npy")

    @property
    def query_vectors(self) -> Vectors:
        """The vectors of the queries, (q, d)."""
        return np.load(self.folder / "query_vectors.npy")


def write(folder: Path, origin: Origin, count: int, vectors: bool) -> Collection:
    """Write a collection of `count` rows, optionally with its vectors, unless the folder already contains it."""
    bits, dim = origin.planes.shape
    collection = Collection(folder, count, bits, dim)
    if (folder / "whole").exists():
        return collection
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    packed = open_memmap(folder / "codes.npy", "w+", np.uint8, (count, bits // 8))
    wide = open_memmap(folder / "vectors.npy", "w+", np.float32, (count, dim)) if vectors else None
    for start in range(0, count, BLOCK):
        block = origin.block(start // BLOCK)[: count - start]
        packed[start : start + len(block)] = codes(origin, block)
        if wide is not None:
            wide[start : start + len(block)] = block
    np.save(folder / "query_codes.npy", codes(origin, origin.queries))
    np.save(folder / "query_vectors.npy", origin.queries)
    (folder / "whole").touch()
    return collection


def nearest_codes(collection: Collection, k: int) -> NDArray[np.int32]:
    """Return the distances of the `k` nearest codes of each query, (q, k)."""
    return hamming.top_k(collection.query_codes, collection.codes, k).distances


def nearest_vectors(collection: Collection, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """Return the `k` nearest vectors of each query by cosine, nearest first: ids and cosines, (q, k) each."""
    queries = collection.query_vectors
    ids, best = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for start, block in blocks(collection.vectors):
        cosines = queries @ block.T
        near = np.argpartition(-cosines, min(k, len(block)) - 1, axis=1)[:, :k]
        ids = np.concatenate([ids, near + start], axis=1)
        best = np.concatenate([best, np.take_along_axis(cosines, near, 1)], axis=1)
        first = np.argsort(-best, axis=1, kind="stable")[:, :k]
        ids, best = np.take_along_axis(ids, first, 1), np.take_along_axis(best, first, 1)
    return ids, best


def blocks(rows: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield rows in blocks of BLOCK, as (start, rows)."""
    for start in range(0, len(rows), BLOCK):
        yield start, np.asarray(rows[start : start + BLOCK])


def unit(vectors: Vectors) -> Vectors:
    """Scale vectors to unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


def _components(centred: Vectors, dim: int) -> tuple[Vectors, float]:
    """Return the first `dim` principal components, at most d, as (d, `dim`), and their share of the variance."""
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return vectors[:, ::-1][:, :dim].astype(np.float32), float(values[::-1][:dim].sum() / values.sum())


def _neighbours(rows: Vectors, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of random rows, (a,), and those of the rows nearest to each, (a, m)."""
    anchors = rng.permutation(len(rows))[:_ANCHORS]
    near = []
    for start in range(0, len(anchors), 100):
        block = anchors[start : start + 100]
        cosines = rows[block] @ rows.T
        cosines[np.arange(len(block)), block] = -2
        near.append(np.argpartition(-cosines, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS])
    return anchors, np.concatenate(near)
