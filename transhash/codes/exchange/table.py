"""Rows of other formats, to be written to a codes file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...system.files import MAX_PATH
from ..records import ModelRef


def check_path(path: bytes) -> bytes:
    """Return a path. Raises ValueError if it is too long for a codes file."""
    if len(path) > MAX_PATH:
        raise ValueError(f"a path of {len(path):,} bytes: at most {MAX_PATH:,} are allowed")
    return path


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Consecutive rows, as the arguments of `CodesWriter.append`."""

    packed: NDArray[np.uint8]
    paths: Sequence[bytes]
    labels: Sequence[tuple[str, ...]] | None = None
    embeddings: NDArray[np.float16] | None = None
    sizes: NDArray[np.int64] | None = None
    mtimes: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class CodesTable:
    """A file of codes in another format.

    Attributes:
        bits: length of its codes.
        blocks: its rows, read lazily; raises CodesError at the first invalid row.
        count: number of rows; 0 if unknown before they are read.
        labels: maximum number of labels per row.
        embeddings: length of the embeddings; 0 if there are none.
        stats: whether it has sizes and times.
        model: the model of the codes, if the file names it.
        root: the folder that paths are relative to, if the file names it.
    """

    bits: int
    blocks: Iterator[RowBlock]
    count: int = 0
    labels: int = 0
    embeddings: int = 0
    stats: bool = False
    model: ModelRef | None = None
    root: bytes | None = None
