"""Build types flat and ivf directly in FAISS's file, so that neither codes nor index need to fit in memory.

After training, type ivf reads the codes twice: to find the list of each, and to write it into that list in the file.
"""

import os
from collections.abc import Callable
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


def write_flat(rows: CodeRows, path: Path, advance: Advance) -> None:
    """Write an `IndexBinaryFlat` of codes (n, bits/8) uint8; call `advance` with the number of codes just written."""
    empty = faiss.serialize_index_binary(faiss.IndexBinaryFlat(rows.shape[1] * 8)).tobytes()
    with path.open("wb") as file:
        file.write(flat_head(empty, len(rows)))
        for _, codes in blocks(rows):
            file.write(codes.data)
            advance(len(codes))


def write_ivf(rows: CodeRows, params: dict[str, int], path: Path, advance: Advance) -> None:
    """Write an `IndexBinaryIVF` of codes (n, bits/8) uint8; arguments as `write_flat`, parameters those of `Ivf`."""
    lists = Ivf.plan(rows, params)
    advance(0)
    lists.learn(rows)
    nlist = lists.index.nlist
    with TemporaryFile(dir=path.parent) as nearest, path.open("wb") as file:
        sizes = np.zeros(nlist, np.int64)
        for _, codes in blocks(rows):
            numbers = lists.nearest(codes).astype(np.int32)
            nearest.write(numbers.data)
            sizes += np.bincount(numbers, minlength=nlist)
            advance(len(codes) // 2)
        nearest.seek(0)
        head = ivf_head(faiss.serialize_index_binary(lists.index).tobytes(), sizes)
        file.write(head)
        file.flush()
        _fill(file.fileno(), rows, nearest, sizes, len(head), advance)


def _fill(file: int, rows: CodeRows, nearest: Any, sizes: NDArray[np.int64], start: int, advance: Advance) -> None:
    """Write codes and ids into the lists. Each list is its codes, then its ids; the first is at byte `start`."""
    width = rows.shape[1]
    codes_at = start + np.cumsum(sizes * (width + 8)) - sizes * (width + 8)
    ids_at = codes_at + sizes * width
    for first, codes in blocks(rows):
        lists = np.fromfile(nearest, np.int32, len(codes))
        order = np.argsort(lists, kind="stable")
        codes, ids = codes[order], first + order
        ends = np.flatnonzero(np.diff(lists[order], prepend=-1, append=-1))
        for begin, end in pairwise(ends.tolist()):
            place = lists[order[begin]]
            _write_at(file, codes[begin:end], codes_at[place])
            _write_at(file, ids[begin:end], ids_at[place])
            codes_at[place] += (end - begin) * width
            ids_at[place] += (end - begin) * 8
        advance(len(codes) - len(codes) // 2)


def _write_at(file: int, rows: NDArray[Any], place: int) -> None:
    left = rows.data.cast("B")
    while len(left):
        written = os.pwrite(file, left, place)
        left, place = left[written:], place + written
