"""Tar archives of images, in the WebDataset layout."""

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Self

from .base import HIDDEN, MAX_ENCODED, Described, Item, Skipped
from .labels import labels_of
from .names import below, is_hidden, is_image, together
from .tarstream import Member, TarStream

_MAX_LABELS = 1 << 20  # bytes of a file with labels
_MAX_STRAYS = 1 << 27  # bytes of labels that are not stored next to their images
_OVERHEAD = 1 << 10  # bytes of memory per image in addition to its data
_LABELS = (b"cls", b"json")
_FIELDS = ("label", "labels", "cls")
_GZIP = b"\x1f\x8b"


class TarSource(Described):
    """The images in tar archives, gzipped or not, read as streams and never unpacked to disk.

    Members whose names are equal up to the first dot form a sample, best side by side. Its images have the labels
    in its ``.cls`` (a name or number), or else in its ``.json`` (``label``, ``labels`` or ``cls``). A row is named
    ``<archive>/<member>``. Images that are not plain files, or exceed `MAX_ENCODED` bytes in a sample, are
    skipped; if an archive is damaged or cut off, the rest of it is skipped, too.

    Attributes:
        ignored: under ``hidden``, the number of hidden members that the last reading ignored.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        """Take one or more archives, in order."""
        self.root, self._archives = below(paths)
        self.description = f"images in {together(paths, 'tar archives')}"
        self.ignored: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the images, archive by archive."""
        self.ignored.clear()
        for archive in self._archives:
            yield from self._read(archive)

    @property
    def origins(self) -> tuple[bytes, ...]:
        """The archives, relative to the root."""
        return tuple(self._archives)

    @property
    def files(self) -> int:
        """The number of archives."""
        return len(self._archives)

    def subset(self, which: slice) -> Self:
        """Return a source of the selected archives, with the same root."""
        selected = copy(self)
        selected._archives = self._archives[which]
        selected.ignored = Counter()
        return selected

    def count(self) -> None:
        """Return None: the archives would have to be read."""

    def _read(self, archive: bytes) -> Iterator[Item | Skipped]:
        strays = self._stray_labels(archive)
        sample = _Sample(archive, b"", strays)
        failure = None
        try:
            with open(os.path.join(self.root, archive), "rb") as file:
                stream = TarStream(_inflated(file))
                for member in stream:
                    if any(map(is_hidden, member.name.split(b"/"))):
                        self.ignored[HIDDEN] += 1
                        continue
                    stem, kind = _split(member.name)
                    if stem != sample.stem:
                        yield from sample.items()
                        sample = _Sample(archive, stem, strays)
                    reason = sample.add(member, kind, stream)
                    if reason:
                        yield Skipped(_row(archive, member.name), reason)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            failure = Skipped(archive, _reason(error))
        yield from sample.items()
        if failure:
            yield failure

    def _stray_labels(self, archive: bytes) -> dict[bytes, tuple[str, ...]]:
        """Return the labels in an archive that are not stored next to their images, by sample.

        This needs a pass over the headers. Sorted archives, the usual case, have none.
        """
        strays: dict[bytes, tuple[str, ...]] = {}
        sample = _Sample(archive, b"", {})
        room = _MAX_STRAYS
        with (
            suppress(OSError, EOFError, ValueError, zlib.error),
            open(os.path.join(self.root, archive), "rb") as file,
        ):
            stream = TarStream(_inflated(file))
            for member in stream:
                stem, kind = _split(member.name)
                if stem != sample.stem:
                    room = sample.leave_labels(strays, room)
                    sample = _Sample(archive, stem, {})
                sample.note(member, kind, stream)
            sample.leave_labels(strays, room)
        return strays


class _Sample:
    """Neighbouring members of an archive with the same stem."""

    def __init__(self, archive: bytes, stem: bytes, strays: dict[bytes, tuple[str, ...]]) -> None:
        self.stem = stem
        self._strays = strays
        self._has_images = False
        self._archive = archive
        self._images: list[tuple[bytes, bytes]] = []
        self._labels: dict[bytes, tuple[str, ...]] = {}
        self._room = MAX_ENCODED

    def add(self, member: Member, kind: bytes, stream: TarStream) -> str:
        """Add a member; return the reason if it must be skipped, or an empty string if it was added or is not needed.

        Raises the errors of reading the archive.
        """
        if member.kind == "folder" or not (is_image(member.name) or kind in _LABELS):
            return ""
        if member.kind != "file":
            return f"{member.kind} in an archive"
        if b".." in member.name.split(b"/") or b"\0" in member.name:
            return "path outside the archive"
        if kind in _LABELS:
            return self._add_labels(member, kind, stream)
        needed = member.size + len(member.name) + _OVERHEAD
        if needed > self._room:
            return f"too large: {member.size} bytes in a sample, at most {MAX_ENCODED} are allowed"
        self._room -= needed
        self._images.append((_row(self._archive, member.name), stream.read(member)))
        return ""

    def _add_labels(self, member: Member, kind: bytes, stream: TarStream) -> str:
        if member.size > _MAX_LABELS:
            return f"too large: {member.size} bytes of labels, at most {_MAX_LABELS} are allowed"
        data = stream.read(member)
        try:
            self._labels[kind] = labels_of(data if kind == b"cls" else _field(data))
        except ValueError as error:
            return f"no labels: {error}"
        return ""

    def items(self) -> Iterator[Item]:
        """Yield the images with the labels of the sample."""
        labels = self._sample_labels() or self._strays.get(self.stem, ())
        for path, data in self._images:
            yield Item(path, labels, data)

    def note(self, member: Member, kind: bytes, stream: TarStream) -> None:
        """Record a member without reading images. Raises the errors of reading the archive."""
        if member.kind == "file" and kind in _LABELS:
            self._add_labels(member, kind, stream)
        self._has_images = self._has_images or is_image(member.name)

    def leave_labels(self, strays: dict[bytes, tuple[str, ...]], room: int) -> int:
        """Add the labels to `strays` if the sample has no image; return the remaining room there in bytes."""
        labels = self._sample_labels()
        size = _OVERHEAD // 4 + len(self.stem) + sum(map(len, labels))
        if self._has_images or not labels or size > room:
            return room
        strays[self.stem] = labels
        return room - size

    def _sample_labels(self) -> tuple[str, ...]:
        return next((self._labels[kind] for kind in _LABELS if kind in self._labels), ())


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Split a member's name into the stem that its sample shares, and the suffix in lower case."""
    folder, slash, base = name.rpartition(b"/")
    stem, _, kind = base.partition(b".")
    return folder + slash + stem, kind.lower()


def _row(archive: bytes, name: bytes) -> bytes:
    """Return the name of a member's row."""
    return b"/".join([archive, *(part for part in name.split(b"/") if part not in (b"", b"."))])


def _field(document: bytes) -> object:
    """Return the value of a JSON document's field for labels."""
    try:
        fields = json.loads(document)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict):
        return None
    return next((fields[name] for name in _FIELDS if name in fields), None)


def _inflated(file: BufferedReader) -> BufferedIOBase:
    """Return a file's contents as a stream, decompressed if it is gzipped."""
    return gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == _GZIP else file


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "archive cut off: the rest is skipped"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged archive: {error}; the rest is skipped"
