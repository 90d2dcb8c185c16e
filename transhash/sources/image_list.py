"""A list of images with random access, as training needs it."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .base import ImageSource, Item, Skipped, counted, ignored_files
from .cache import CacheFile
from .memory import MemorySource


@dataclass(frozen=True)
class ImageList:
    """The images of a source, in order, with random access: `decode.open_item(images.root, images.images[7])`.

    Attributes:
        root: the folder that relative paths start from, as bytes; empty for the working directory.
        images: the images; those of archives and tables are cached in a temporary file.
        skipped: items that the source skipped.
        ignored: the number of files that the source ignored, by suffix.
    """

    root: bytes
    images: Sequence[Item]
    skipped: Sequence[Skipped] = field(default=())
    ignored: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, source: ImageSource) -> "ImageList":
        """List the images of a source.

        Only names, labels and sizes are kept in memory. The encoded images of archives, tables and arrays are copied
        to a temporary file, because such sources can only be read in order.

        Raises SourceError if the source cannot be read, or the temporary file cannot be written.
        """
        if isinstance(source, cls):
            return source
        images: list[Item] = []
        skipped: list[Skipped] = []
        cache: CacheFile | None = None
        for item in source:
            if isinstance(item, Skipped):
                skipped.append(item)
            elif isinstance(item.data, bytes | np.ndarray) and not isinstance(source, MemorySource):
                cache = cache or CacheFile()
                images.append(replace(item, data=cache.add(item.data)))
            else:
                images.append(item)
        return cls(source.root, images, skipped, ignored_files(source))

    @property
    def description(self) -> str:
        """One line for people."""
        return counted(len(self.images))

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the skipped items, then the images."""
        yield from self.skipped
        yield from self.images

    def count(self) -> int:
        """Return the number of items."""
        return len(self.skipped) + len(self.images)

    @property
    def labelled(self) -> bool:
        """Whether any image has a label."""
        return self.most_labels > 0

    @property
    def most_labels(self) -> int:
        """The largest number of labels of any image."""
        return max((len(image.labels) for image in self.images), default=0)

    def path(self, image: Item) -> str:
        """Return the path of an image as the functions of the file system take it."""
        return os.fsdecode(os.path.join(self.root, image.path))
