"""The forward arrow: images -> hasher -> codes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images
from .codes import Codes, CodesWriter, Records, StringTable, label_ids
from .errors import SourceError
from .hashers.base import Hasher
from .images import ImageFile, Skipped, Source

BATCH_SIZE = 32


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows, and what was skipped among them.

    Attributes:
        codes: (n, bits/8) uint8; row i is the code of `files[i]`.
        files: the n images that were read.
        skipped: the images that could not be.
    """

    codes: NDArray[np.uint8]
    files: list[ImageFile]
    skipped: list[Skipped]


def encode_batches(source: Source, hasher: Hasher, batch_size: int = BATCH_SIZE) -> Iterator[Batch]:
    """Encode the images of a source in order, `batch_size` at a time."""
    files: list[ImageFile] = []
    pixels: list[NDArray[Any]] = []
    skipped: list[Skipped] = []
    for item in images.load(source, hasher.preprocess):
        if isinstance(item, Skipped):
            skipped.append(item)
        else:
            files.append(item[0])
            pixels.append(item[1])
        if len(files) + len(skipped) == batch_size:
            yield _encode_batch(hasher, files, pixels, skipped)
            files, pixels, skipped = [], [], []
    if files or skipped:
        yield _encode_batch(hasher, files, pixels, skipped)


def encode(source: str | Path | Iterable[str | Path] | Source, hasher: Hasher, batch_size: int = BATCH_SIZE) -> Codes:
    """Encode a folder, or some image files, into codes in memory.

    What cannot be read has no row and stands in `Codes.skipped` with the reason.
    Raises SourceError if no image could be read.
    """
    if isinstance(source, str | Path):
        source = images.folder(source)
    elif not isinstance(source, Source):
        source = images.files(source)
    batches = list(encode_batches(source, hasher, batch_size))
    files = [file for batch in batches for file in batch.files]
    skipped = [*source.skipped, *(item for batch in batches for item in batch.skipped)]
    _check_any(source, len(files), skipped)
    names = sorted({name for file in files for name in file.labels})
    most = max(len(file.labels) for file in files)
    ids = {name: place for place, name in enumerate(names)}
    labels = label_ids([file.labels for file in files], most, ids) if names else None
    paths = StringTable.of([file.path for file in files])
    return Codes(
        np.concatenate([batch.codes for batch in batches]),
        Records(paths, source.root, labels, tuple(names)),
        hasher.ref,
        [(item.path, item.reason) for item in skipped],
    )


def encode_to_file(
    source: Source,
    hasher: Hasher,
    output: Path,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> tuple[int, list[Skipped]]:
    """Encode a source into a codes file, batch by batch, and return (rows, skipped).

    The file appears when it is complete; until then a codes file that stood there stays as it was.
    Raises SourceError if no image could be read, CodesError if `output` is not replaceable.
    """
    rows = 0
    skipped = list(source.skipped)
    with CodesWriter.create(output, hasher.ref, source.root, labels=source.most_labels) as writer:
        for batch in encode_batches(source, hasher, batch_size):
            writer.append(batch.codes, [file.path for file in batch.files], [file.labels for file in batch.files])
            rows += len(batch.files)
            skipped += batch.skipped
            on_batch(batch)
        _check_any(source, rows, skipped)
        for item in skipped:
            writer.skip(item.path, item.reason)
    return rows, skipped


def _encode_batch(
    hasher: Hasher, files: list[ImageFile], pixels: list[NDArray[Any]], skipped: list[Skipped]
) -> Batch:
    if not files:
        return Batch(np.empty((0, hasher.ref.bits // 8), dtype=np.uint8), [], skipped)
    codes = hasher.encode(np.stack(pixels))
    assert codes.shape == (len(files), hasher.ref.bits // 8), "a hasher must return one code per image"
    return Batch(codes, files, skipped)


def _check_any(source: Source, rows: int, skipped: list[Skipped]) -> None:
    if rows:
        return
    where = source.root.decode("utf-8", "backslashreplace") or "the list"
    if skipped:
        first = skipped[0].path.decode("utf-8", "backslashreplace")
        raise SourceError(
            f"{where}: none of {len(skipped)} files could be read; the first, {first!r}: {skipped[0].reason}"
        )
    raise SourceError(f"{where}: no images in it; looked for {' '.join(images.SUFFIXES)}")
