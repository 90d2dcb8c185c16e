"""What a run would encode, without reading any image."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..sources.base import Item, Skipped
from .job import opened


@dataclass
class Preview:
    """What an image source holds.

    Attributes:
        images: number of images.
        first: the first of them.
        labels: how many images have each label.
        skipped: files that cannot be read, as far as that shows without reading them.
    """

    images: int = 0
    first: list[Item] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)


def preview(images: Any, shard: str | tuple[int, int] | None = None, first: int = 5) -> Preview:
    """Walk through an image source and count what it yields, keeping the `first` images.

    Raises SourceError if the images cannot be opened, or there is no such share.
    """
    found = Preview()
    for item in opened(images, shard):
        if isinstance(item, Skipped):
            found.skipped.append(item)
            continue
        found.images += 1
        found.labels.update(item.labels)
        if len(found.first) < first:
            found.first.append(item)
    return found
