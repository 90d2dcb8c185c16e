"""Build types flat and ivf directly in FAISS's file, so that neither codes nor index need to fit in memory.

After training, type ivf reads the codes twice: to find the list of each, and to write it into that list in the file.
"""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transhash.backends import CodeRows

from . import library as faiss
from .blocks import blocks
from .ivf import Ivf
from .layout import flat_head, ivf_head

Advance = Callable[[int], object]
List = tuple[int, Callable[[], tuple[NDArray[np.uint8], NDArray[np.int64]]]]
"""The number of codes of a list, and a function that reads its codes and ids."""


def write_flat(rows: CodeRows, path: Path, advance: Advance, most: int | None = None) -> None:
    """Write an `IndexBinaryFlat` of codes (n, bits/8) uint8; call `advance` with the number of codes just written."""
    empty = faiss.serialize_index_binary(faiss.IndexBinaryFlat(rows.shape[1] * 8)).tobytes()
    with path.open("wb") as file:
        file.write(flat_head(empty, len(rows)))
        for _, codes in blocks(rows, most):
            file.write(codes.data)
            advance(len(codes))


def write_ivf(rows: CodeRows, params: dict[str, int], path: Path, advance: Advance) -> None:
    """Write an `IndexBinaryIVF` of codes (n, bits/8) uint8; arguments as `write_flat`, parameters those of `Ivf`."""
    lists = Ivf.plan(rows, params)
    advance(0)
    lists.learn(rows)
    write_lists(lists, (), rows, path, advance)


def write_lists(
    lists: Ivf, stored: Sequence[List], rows: CodeRows, path: Path, advance: Advance, most: int | None = None
) -> None:
    """Write an `IndexBinaryIVF` with the centroids of `lists`, which is empty.

    Args:
        lists: the centroids.
        stored: the codes and ids that each list begins with; none, or one of each list.
        rows: further codes; their ids follow those of the stored ones.
        path: the file.
        advance: called with the number of codes processed.
        most: rows to read at a time, if given.
    """
    nlist, width = int(lists.index.nlist), rows.shape[1]
    begun = np.array([size for size, _ in stored], np.int64) if stored else np.zeros(nlist, np.int64)
    with TemporaryFile(dir=path.parent) as nearest, path.open("wb") as file:
        sizes = begun.copy()
        for _, codes in blocks(rows, most):
            numbers = lists.nearest(codes).astype(np.int32)
            nearest.write(numbers.data)
            sizes += np.bincount(numbers, minlength=nlist)
            advance(len(codes) // 2)
        nearest.seek(0)
        head = ivf_head(faiss.serialize_index_binary(lists.index).tobytes(), sizes)
        file.write(head)
        file.flush()
        codes_at = len(head) + np.cumsum(sizes * (width + 8)) - sizes * (width + 8)
        ids_at = codes_at + sizes * width
        for place, (_, read) in enumerate(stored):
            codes, ids = read()
            _write_at(file.fileno(), codes, codes_at[place])
            _write_at(file.fileno(), ids, ids_at[place])
        _fill(
            file.fileno(),
            rows,
            int(begun.sum()),
            nearest,
            codes_at + begun * width,
            ids_at + begun * 8,
            advance,
            most,
        )


def _fill(
    file: int,
    rows: CodeRows,
    first_id: int,
    nearest: Any,
    codes_at: NDArray[np.int64],
    ids_at: NDArray[np.int64],
    advance: Advance,
    most: int | None,
) -> None:
    """Write codes, and ids from `first_id`, into the lists; `codes_at` and `ids_at` are the next places of each."""
    width = rows.shape[1]
    for first, codes in blocks(rows, most):
        lists = np.fromfile(nearest, np.int32, len(codes))
        order = np.argsort(lists, kind="stable")
        codes, ids = codes[order], first_id + first + order
        ends = np.flatnonzero(np.diff(lists[order], prepend=-1, append=-1))
        for begin, end in pairwise(ends.tolist()):
            place = lists[order[begin]]
            _write_at(file, codes[begin:end], codes_at[place])
            _write_at(file, ids[begin:end], ids_at[place])
            codes_at[place] += (end - begin) * width
            ids_at[place] += (end - begin) * 8
        advance(len(codes) - len(codes) // 2)


def _write_at(file: int, rows: NDArray[Any], place: int) -> None:
    left = rows.reshape(-1).view(np.uint8).data
    while len(left):
        written = os.pwrite(file, left, place)
        left, place = left[written:], place + written
