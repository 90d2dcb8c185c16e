"""Rows on their way into a codes file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...system.files import MAX_PATH
from ..records import ModelRef


def check_path(path: bytes) -> bytes:
    """Return a path. Raises ValueError if it is longer than a codes file holds."""
    if len(path) > MAX_PATH:
        raise ValueError(f"a path of {len(path):,} bytes: a codes file holds {MAX_PATH:,}")
    return path


@dataclass(frozen=True, eq=False)
class Block:
    """Some consecutive rows, as `CodesWriter.append` takes them."""

    packed: NDArray[np.uint8]
    paths: Sequence[bytes]
    labels: Sequence[tuple[str, ...]] | None = None
    embeddings: NDArray[np.float16] | None = None
    sizes: NDArray[np.int64] | None = None
    mtimes: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """A file of codes in another format.

    Attributes:
        bits: width of its codes.
        blocks: its rows, which are read as they are asked for; raises CodesError at the first that is no row.
        count: how many there are; 0 if that is not known before they are read.
        labels: how many labels a row has at most.
        embeddings: how many numbers an embedding has; 0 if there are none.
        stats: whether it has sizes and times.
        model: what made the codes, if the file says so.
        root: the folder that paths are relative to, if the file says so.
    """

    bits: int
    blocks: Iterator[Block]
    count: int = 0
    labels: int = 0
    embeddings: int = 0
    stats: bool = False
    model: ModelRef | None = None
    root: bytes | None = None
