"""Images in a dataset of an HDF5 file."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import h5py

from ..codes.hdf5 import own_dataset
from . import pixels
from .base import Item
from .labels import labels_of

_IMAGES, _LABELS = "images", "labels"
_MAX_CHUNK = 1 << 28  # bytes
_MOST_NAMES = 1000  # names searched for the only dataset


def count(path: str) -> int:
    """Return the number of images. Raises ValueError if the file does not contain images."""
    with h5py.File(path, "r", locking="best-effort") as file:
        return int(_images(file).shape[0])


def rows(path: str, name: bytes) -> Iterator[Item]:
    """Yield the images of the dataset ``images``, or of the only dataset besides ``labels``.

    Labels come from ``labels``, (n,) whole numbers or text. The name of a row is ``<name>/<number>``, from 0.

    Raises ValueError if the file holds no images, and anything that h5py raises for a damaged one.
    """
    with h5py.File(path, "r", locking="best-effort") as file:
        images = _images(file)
        labels = _labels(file, len(images))
        step = _step(images)
        for start in range(0, len(images), step):
            names = [()] * step if labels is None else [labels_of(v) for v in labels[start : start + step].tolist()]
            for place, image in enumerate(images[start : start + step]):
                yield Item(b"%s/%d" % (name, start + place), names[place], pixels.channels_last(image))


def _step(images: Any) -> int:
    """Return how many rows to read at a time: whole chunks, because HDF5 unpacks whole chunks."""
    rows, size = pixels.at_once(images.shape), pixels.size(images.shape)
    chunk = images.chunks or (1,)
    return rows // chunk[0] * chunk[0] if chunk[0] <= rows else chunk[0] if chunk[0] * size <= _MAX_CHUNK else rows


def _images(file: Any) -> Any:
    names = [_IMAGES] if _IMAGES in file else [name for name in islice(file, _MOST_NAMES) if name != _LABELS]
    if len(names) != 1:
        raise ValueError(f"{len(names)} datasets, none of them called {_IMAGES}; rename that of the images")
    images = own_dataset(file, names[0])
    if pixels.batch_shape(images.shape, images.dtype) != images.shape:
        raise ValueError(
            f"{names[0]}: {images.shape} is one picture; store it as (1, H, W, 3), or several as (n, H, W, 3)"
        )
    if images.chunks and math.prod(images.chunks) > _MAX_CHUNK:
        raise ValueError(f"{names[0]}: chunks of more than {_MAX_CHUNK:,} bytes; write it in smaller ones")
    _check_written(images, names[0])
    return images


def _check_written(images: Any, name: str) -> None:
    """Raise ValueError if parts of a dataset were never written: a tiny file may claim any number of black images."""
    if images.chunks is None:
        complete = images.id.get_storage_size() >= images.size
    else:
        wanted = math.prod(-(-size // chunk) for size, chunk in zip(images.shape, images.chunks, strict=True))
        complete = images.id.get_num_chunks() >= wanted
    if not complete:
        raise ValueError(f"{name}: {len(images):,} images, but not all of them were written; copy those that were")


def _labels(file: Any, count: int) -> Any:
    """Return the labels, or None if there are none."""
    if _LABELS not in file:
        return None
    labels = own_dataset(file, _LABELS)
    if labels.shape != (count,) or (labels.dtype.kind not in "iu" and not h5py.check_string_dtype(labels.dtype)):
        raise ValueError(f"{_LABELS}: {labels.shape} {labels.dtype}, not ({count},) of whole numbers or text")
    return labels
