"""Public sets of binary vectors: those of ann-benchmarks (one bool per bit) and VIBE (eight bits per byte).

Both are HDF5 files with the datasets ``train``, ``test``, ``neighbors`` and ``distances``. A distance is the share of
differing bits in ann-benchmarks, and their number in VIBE. Files are untrusted: each is read in a child process, and
all sizes are checked before data are read.
"""

import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from transhash import hamming
from transhash.codes.guard import guarded
from transhash.errors import CodesError, ResultsError, one_line
from transhash.packing import MAX_BITS
from transhash.system.progress import Progress

from .collection import Collection

_STEP = 1 << 24  # elements read at once
_MAX_CHUNK = 1 << 28  # bytes decompressed to read a single row
_MAX_ANSWERS = 1 << 26  # queries × neighbours
_DEFLATED = 1100  # largest compression ratio of deflate
_PARTS = ("train", "test", "neighbors", "distances")


@dataclass(frozen=True)
class PublicSet:
    """A public set, unpacked into a folder.

    Attributes:
        name: file name without the suffix.
        kind: ``ann-benchmarks`` or ``VIBE``.
        collection: codes and queries; the padding bits of the last byte are 0.
        width: bits per vector in the file.
        true: share of the file's neighbours that have the stated distance and are among the nearest.
    """

    name: str
    kind: str
    collection: Collection
    width: int
    true: float


def unpack(path: Path, folder: Path) -> PublicSet:
    """Unpack a file of either format into a folder, and compare its neighbours with an exact search.

    Raises ResultsError if the file is damaged or in another format.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        kind, count, width = guarded(partial(_read, path, folder), path)
    except CodesError as error:
        reason = str(error).removeprefix(f"{path}: ").removesuffix("; encode again")
        raise ResultsError(f"{path}: no Hamming set of ann-benchmarks or VIBE: {reason}") from None
    collection = Collection(folder, count, 8 * -(-width // 8), 0)
    return PublicSet(
        path.stem, kind, collection, width, _correct_share(collection, np.load(folder / "distances.npy"))
    )


def _read(path: Path, folder: Path, report: Progress) -> tuple[str, int, int]:
    """Write codes, queries, neighbours and distances in bits as .npy files; return format, rows and vector bits."""
    try:
        with h5py.File(path, "r") as file:
            train, test, neighbors, distances = (_dataset(file, name) for name in _PARTS)
            packed = _packed(file, train)
            width = int(train.shape[1]) * (8 if packed else 1)
            _check(train, test, neighbors, distances, width, shutil.disk_usage(folder).free)
            for target, source in (("codes", train), ("query_codes", test)):
                _copy(source, folder / f"{target}.npy", packed, report)
            ids, apart = neighbors[()].astype(np.int64), distances[()].astype(np.float64)
            if ids.min() < 0 or ids.max() >= len(train):
                raise ValueError("a neighbour is not a row of train")
            np.save(folder / "neighbors.npy", ids)
            np.save(folder / "distances.npy", apart if packed else apart * width)
            return "VIBE" if packed else "ann-benchmarks", int(train.shape[0]), width
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise CodesError(f"{path}: {one_line(error)}") from None


def _dataset(file: Any, name: str) -> Any:
    """Return a two-dimensional dataset; reject links, virtual datasets and external storage."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"no dataset {name}")
    found = file[name]
    if found.is_virtual or found.external or found.ndim != 2 or not all(found.shape):
        raise ValueError(f"{name}: shape {found.shape}; expected a table with rows, stored in this file")
    if found.chunks and math.prod(found.chunks) * found.dtype.itemsize > _MAX_CHUNK:
        raise ValueError(f"{name}: chunks of more than {_MAX_CHUNK:,} bytes")
    if found.size * found.dtype.itemsize > _DEFLATED * found.id.get_storage_size():
        raise ValueError(f"{name}: {found.size:,} numbers, which the file is too small to hold")
    return found


def _packed(file: Any, train: Any) -> bool:
    """Return whether bits are packed, according to the dtype and the attributes of the file."""
    distance, point = (str(file.attrs.get(name, "")) for name in ("distance", "point_type"))
    if distance != "hamming":
        raise ValueError(f"its distance is {distance or 'missing'}, not hamming")
    if train.dtype == np.bool_:
        return False
    if train.dtype == np.uint8 and point == "binary":
        return True
    raise ValueError(
        f"vectors of {train.dtype}, point_type {point or 'missing'}; expected bool, or uint8 with point_type binary"
    )


def _check(train: Any, test: Any, neighbors: Any, distances: Any, width: int, free: int) -> None:
    if train.dtype != test.dtype or train.shape[1] != test.shape[1]:
        raise ValueError(f"train {train.shape} {train.dtype} and test {test.shape} {test.dtype} are of two kinds")
    if neighbors.shape != distances.shape or len(neighbors) != len(test):
        raise ValueError(f"neighbors {neighbors.shape} and distances {distances.shape} for {len(test)} queries")
    if neighbors.dtype.kind not in "iu" or distances.dtype.kind != "f":
        raise ValueError(f"neighbors of {neighbors.dtype} and distances of {distances.dtype}")
    if width > MAX_BITS:
        raise ValueError(f"{width:,} bits; {MAX_BITS:,} at most")
    if neighbors.size > _MAX_ANSWERS or neighbors.shape[1] > len(train):
        raise ValueError(f"{len(test):,} queries with {neighbors.shape[1]:,} neighbours each")
    if len(train) * width // 8 > free // 2:
        raise ValueError(f"{len(train):,} vectors do not fit on the disk")


def _copy(source: Any, target: Path, packed: bool, report: Progress) -> None:
    rows, columns = source.shape
    out = open_memmap(target, "w+", np.uint8, (rows, columns if packed else -(-columns // 8)))
    step = max(1, _STEP // columns)
    for start in range(0, rows, step):
        block = source[start : start + step]
        out[start : start + step] = block if packed else np.packbits(block, axis=1)
        report(min(start + step, rows), rows)
    out.flush()


def _correct_share(collection: Collection, distances: NDArray[np.float64]) -> float:
    """Return the share of neighbours that have the stated distance and are as near as in an exact search."""
    ids, codes, queries = np.load(collection.folder / "neighbors.npy"), collection.codes, collection.query_codes
    furthest = hamming.top_k(queries, codes, ids.shape[1]).distances[:, -1]
    right = 0
    for query, neighbours in enumerate(ids):
        apart = np.bitwise_count(codes[neighbours] ^ queries[query]).sum(axis=1)
        right += int(((np.abs(apart - distances[query]) < 0.5) & (apart <= furthest[query])).sum())
    return right / ids.size


def write_set(path: Path, collection: Collection, neighbours: int) -> None:
    """Write a collection in the format of ann-benchmarks, with the exact neighbours of each query."""
    found = hamming.top_k(collection.query_codes, collection.codes, neighbours)
    train, test = (
        np.unpackbits(codes, axis=1).astype(np.bool_) for codes in (collection.codes, collection.query_codes)
    )
    with h5py.File(path, "w") as file:
        file.attrs.update(type="dense", distance="hamming", dimension=collection.bits, point_type="bit")
        for name, part in (("train", train), ("test", test), ("neighbors", found.ids)):
            file.create_dataset(name, data=part)
        file.create_dataset("distances", data=found.distances / collection.bits)


def write_answers(
    path: Path,
    attributes: dict[str, Any],
    times: NDArray[np.float64],
    ids: NDArray[np.int64],
    width: int,
    distances: NDArray[np.int64],
) -> None:
    """Write a results file of ann-benchmarks: seconds, neighbours and distances of each query.

    Args:
        path: output file, replaced if it exists.
        attributes: attributes of the run.
        times: (q,), seconds.
        ids: (q, k), row numbers; -1 for a missing result.
        width: bits per vector, by which distances are divided.
        distances: (q, k), in bits.
    """  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        file.create_dataset("times", data=times.astype(np.float32))
        file.create_dataset("neighbors", data=ids.astype(np.int32))
        file.create_dataset("distances", data=np.where(ids < 0, np.inf, distances / width).astype(np.float32))
