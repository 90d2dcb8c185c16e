"""Preview an encoding run: count the images without reading them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..sources.base import Item, Skipped
from .job import opened


@dataclass
class Preview:
    """The contents of an image source.

    Attributes:
        images: number of images.
        first: the first images.
        labels: number of images with each label.
        skipped: files that cannot be read, if that is known without reading them.
    """

    images: int = 0
    first: list[Item] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)


def preview(images: Any, shard: str | tuple[int, int] | None = None, first: int = 5) -> Preview:
    """Iterate over an image source and count its images, keeping the `first` ones.

    Raises SourceError if the images cannot be opened, or `shard` is invalid.
    """
    result = Preview()
    for item in opened(images, shard):
        if isinstance(item, Skipped):
            result.skipped.append(item)
            continue
        result.images += 1
        result.labels.update(item.labels)
        if len(result.first) < first:
            result.first.append(item)
    return result
