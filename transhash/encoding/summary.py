"""The summary of an encoding run."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batch import EncodedBatch

_STUCK = 0.01  # a bit is stuck if it differs in less than this share of the codes
_FEWEST_CODES = 100  # fewest codes for which stuck bits are counted
_NAMED = 5  # counts that a message names


@dataclass(repr=False)
class EncodingSummary:
    """The result of `encode_to_file`.

    Attributes:
        output: the codes file.
        rows: its rows.
        bits: width of its codes.
        size: its size in bytes.
        encoded: number of images that this run encoded.
        resumed: number of images that an interrupted run had encoded before.
        skipped: number of images that this run could not read, by reason.
        ignored: number of files that are not images by their names, by suffix.
        changed, vanished: rows of the extended file whose image has changed, or no longer exists.
        sync: whether changed and vanished rows were updated.
        seconds: how long the run took.
        ones: number of this run's codes in which each bit is set, (bits,) int64.
    """

    output: Path
    bits: int
    rows: int = 0
    size: int = 0
    encoded: int = 0
    resumed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    vanished: int = 0
    sync: bool = False
    seconds: float = 0.0
    ones: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"<EncodingSummary {self.output}: {self.rows} rows of {self.bits} bits, {self.encoded} encoded, "
            f"{self.skipped.total()} skipped>"
        )

    def add(self, batch: EncodedBatch) -> None:
        """Count a batch."""
        self.encoded += len(batch.items)
        self.skipped.update(item.reason.partition(":")[0] for item in batch.skipped)
        self.ones = self.ones + np.unpackbits(batch.codes, axis=1).sum(axis=0, dtype=np.int64)

    @property
    def images_per_second(self) -> float:
        """Rate of this run, from files to codes."""
        return self.encoded / self.seconds if self.seconds else 0.0

    @property
    def stuck_bits(self) -> int:
        """Number of bits that are equal in more than 99 of 100 codes; 0 for fewer than 100 codes."""
        if self.encoded < _FEWEST_CODES:
            return 0
        share = self.ones / self.encoded
        return int(((share < _STUCK) | (share > 1 - _STUCK)).sum())

    @property
    def warnings(self) -> list[str]:
        """Warnings about the codes, one sentence each."""
        if self.stuck_bits <= self.bits // 10:
            return []
        return [
            f"{self.stuck_bits} of {self.bits} bits hardly vary over these images, so the codes carry little "
            "information; the hasher may have collapsed"
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {
            "output": str(self.output),
            "rows": self.rows,
            "bits": self.bits,
            "bytes": self.size,
            "encoded": self.encoded,
            "resumed": self.resumed,
            "skipped": dict(self.skipped),
            "ignored": dict(self.ignored),
            "changed": self.changed,
            "vanished": self.vanished,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(self.images_per_second, 1),
            "stuck_bits": self.stuck_bits,
        }


def named_counts(counts: Counter[str]) -> str:
    """Return counts in words, the largest first: "12 .txt, 3 .heic, 1 other"."""
    first = [f"{count:,} {name or 'without suffix'}" for name, count in counts.most_common(_NAMED)]
    others = counts.total() - sum(count for _, count in counts.most_common(_NAMED))
    return ", ".join([*first, f"{others:,} other{'s' * (others != 1)}"] if others else first)
