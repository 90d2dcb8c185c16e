"""Rows that are added to an index: some of those of codes in memory or in a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..backends.rows import Selected
from ..codes import Codes, CodesFile, ModelRef, Records
from ..codes.records import width_of
from ..codes.strings import STRINGS


@dataclass(frozen=True, eq=False)
class NewRows:
    """Rows to add: codes in memory or in a file, and which of them.

    Attributes:
        codes: all of their codes.
        chosen: which are added, (n,) bool.
    """

    codes: Codes | CodesFile
    chosen: NDArray[np.bool_]

    @classmethod
    def all(cls, codes: Codes | CodesFile) -> Self:
        """Return all rows."""
        return cls(codes, np.broadcast_to(np.True_, len(codes)))  # without memory for each

    @property
    def model(self) -> ModelRef:
        """The model that made the codes."""
        return self.codes.model if isinstance(self.codes, Codes) else self.codes.header.model

    @property
    def layout(self) -> tuple[bytes, tuple[str, ...], int]:
        """Their root, the names of their labels, and the most labels of a row."""
        if isinstance(self.codes, Codes):
            records = self.codes.records
            return records.root, records.label_names, width_of(records.labels)
        return self.codes.header.root, self.codes.label_names, self.codes.labels

    def blocks(self) -> Iterator[tuple[int, Codes]]:
        """Yield the first row and the codes of consecutive blocks, of all rows."""
        if not isinstance(self.codes, Codes):
            yield from self.codes.blocks(embeddings=False)
            return
        for start in range(0, len(self.codes), STRINGS):
            yield start, self.codes.take(slice(start, start + STRINGS))

    def records(self) -> Iterator[Records]:
        """Yield the records of the chosen rows."""
        for start, block in self.blocks():
            yield block.records.take(self.chosen[start : start + len(block)])

    def packed(self) -> Selected:
        """Return the codes of the chosen rows, read on demand."""
        return Selected(self.codes.packed if isinstance(self.codes, Codes) else self.codes, self.chosen)
