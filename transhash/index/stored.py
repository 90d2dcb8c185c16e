"""Convert rows of a database to codes and records in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes, ModelRef, Records, texts
from ..codes.records import UNKNOWN, label_ids
from . import filters
from .ids import RowIds

Stats = tuple[Sequence[int | None], Sequence[int | None]]
"""Sizes in bytes and modification times in nanoseconds, None where unknown."""


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows of a database in memory, as `filters.mask` takes them.

    Attributes:
        numbers: their ids in ascending order, (n,) int64.
        records: their paths and labels.
    """

    numbers: NDArray[np.int64]
    records: Records

    @property
    def ids(self) -> RowIds:
        """The ids, with the rows that have them."""
        return RowIds.given(self.numbers)

    @property
    def root(self) -> bytes:
        """The folder that paths are relative to."""
        return self.records.root

    def find(self, paths: set[bytes]) -> dict[bytes, list[int]]:
        """Return the rows with the given full paths."""
        return filters.rows_of(self.records, paths)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.records)


def codes(
    packed: NDArray[np.uint8],
    paths: Sequence[str],
    labels: Sequence[Sequence[str]],
    model: ModelRef,
    root: bytes,
    stats: Stats | None = None,
) -> Codes:
    """Return rows as codes.

    Args:
        packed: (n, bits/8) uint8.
        paths: n whole paths, as `texts.text` writes them.
        labels: the labels of each row, as `texts.label` writes them.
        model: the model that made the codes.
        root: the folder that paths are shown relative to.
        stats: sizes and times of the files.
    """
    return Codes(packed, records(paths, labels, root, stats), model)


def records(
    paths: Sequence[str], labels: Sequence[Sequence[str]], root: bytes, stats: Stats | None = None
) -> Records:
    """Return rows as records; the arguments are those of `codes`."""
    names: dict[str, int] = {}
    label_names = [tuple(map(texts.label_name, row)) for row in labels]
    most = max(map(len, label_names), default=0)
    known = [np.array([UNKNOWN if one is None else one for one in values], np.int64) for values in stats or ()]
    return Records(
        [texts.place(root, texts.path(path)) for path in paths],
        root,
        label_ids(label_names, most, names) if most else None,
        tuple(names),
        *(None if (values == UNKNOWN).all() else values for values in known),
    )
