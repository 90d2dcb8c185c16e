"""A summary of a codes file."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..system.arguments import checked
from .header import Header
from .reader import CodesFile, open_codes


@dataclass(frozen=True)
class Description:
    """The contents of a codes file.

    Attributes:
        header: its attributes: version, model, root, share and digest.
        rows: number of rows.
        labels_per_row: maximum number of labels of a row.
        labels: number of rows with each label, most frequent first.
        embeddings: dimension of the embeddings; 0 without embeddings.
        stats: whether sizes and times of the image files are stored.
        skipped: skipped images by reason, the most frequent first.
        file_size: bytes.
    """

    header: Header
    rows: int
    labels_per_row: int
    labels: dict[str, int]
    embeddings: int
    stats: bool
    skipped: dict[str, int]
    file_size: int

    def __repr__(self) -> str:
        """Describe the file in one line."""
        return f"<Description: {self.rows} codes of {self.header.model.bits} bits by {self.header.model.name!r}>"


@checked
def describe_codes(path: str | Path) -> Description:
    """Describe the contents of a codes file.

    Raises CodesError if there is no such file, or it is not a codes file or damaged.
    """
    with open_codes(path, embeddings=False) as file:
        return Description(
            file.header,
            len(file),
            file.labels,
            _label_counts(file),
            file.embeddings,
            file.stats,
            dict(Counter(reason.partition(":")[0] for _, reason in file.skipped()).most_common()),
            file.path.stat().st_size,
        )


def _label_counts(file: CodesFile) -> dict[str, int]:
    """Return how many rows have each label, the most frequent first."""
    counts = np.zeros(len(file.label_names), dtype=np.int64)
    for _, block in file.blocks(embeddings=False):
        labels = block.records.labels
        if labels is not None:
            counts += np.bincount(labels[labels >= 0], minlength=len(counts))
    return dict(Counter(dict(zip(file.label_names, counts.tolist(), strict=True))).most_common())
