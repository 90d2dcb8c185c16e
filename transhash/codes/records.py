"""Codes in memory, with the paths, labels, sizes and times of their rows."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError, ModelError, PositionError
from ..packing import check_bits
from ..system.arguments import check_fields, check_plain, checked
from .strings import StringTable

NO_LABEL = -1
UNKNOWN = -1  # size or time of an image file
MAX_LABELS = 1024  # labels per image
MAX_NAMES = 1 << 26  # bytes of all label names
MAX_SKIPPED = 1 << 22  # skipped images
MAX_SKIPPED_BYTES = 1 << 29  # bytes of the paths and reasons of skipped images

Rows = slice | NDArray[np.bool_]


class LazyColumn(ABC):
    """Sizes or times of rows that are not an array in memory, with the operations that `Records` uses."""

    dtype = np.dtype(np.int64)
    ndim = 1
    shape: tuple[int, ...]

    @abstractmethod
    def __getitem__(self, which: Any) -> NDArray[np.int64]:
        """Return the values of a slice with step 1, or of whatever selects values of an array."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.int64]:
        """Return all values."""
        return self[:]


@dataclass(frozen=True, repr=False)
class ModelRef:
    """The model that made codes.

    Attributes:
        name: ``phash``, or the hasher's path when the images were encoded.
        digest: identity of the model: codes can be compared if and only if their digests are equal.
        bits: width of its codes.
        preprocessing: the model's preprocessing of images, as JSON; empty if unknown.
    """

    name: str
    digest: str
    bits: int
    preprocessing: str = ""

    def __post_init__(self) -> None:
        """Check the fields. Raises TypeError, or ModelError for a length that codes cannot have."""
        check_fields(self)
        try:
            check_bits(self.bits)
        except ValueError as error:
            raise ModelError(f"{self.name[:200]!r}: {error}") from None

    def __repr__(self) -> str:
        """Describe the model in one line, with the beginning of its digest."""
        return f"<ModelRef {self.name!r}: {self.bits} bits, digest {self.digest[:12]}>"

    @property
    def short_name(self) -> str:
        """The name for files that others read: of a path only the last part, because folders are private."""
        return os.path.basename(self.name) if os.path.isabs(self.name) else self.name


@dataclass(frozen=True, eq=False, repr=False)
class Records:
    """Paths, labels, sizes and times of rows: everything that belongs to a row besides its code.

    Attributes:
        paths: n paths as bytes, relative to `root` unless absolute.
        root: the folder that was encoded, as bytes; empty if there was none.
        labels: positions in `label_names`: (n,) int32 if rows have at most one label, -1 for none; (n, L) int32 if
            they have up to L, padded with -1; None if no row has a label.
        label_names: the names of the classes.
        sizes: size of every image file in bytes, (n,) int64, -1 if unknown; None if all are unknown.
        mtimes: modification times in nanoseconds since 1970, as `sizes`.
    """

    paths: Sequence[bytes]
    root: bytes = b""
    labels: NDArray[np.int32] | None = None
    label_names: tuple[str, ...] = ()
    sizes: NDArray[np.int64] | None = None
    mtimes: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if isinstance(self.paths, str | bytes) or not isinstance(self.paths, Sequence | StringTable):
            raise TypeError(f"paths must be a list of paths as bytes, not {type(self.paths).__name__}")
        if not isinstance(self.paths, StringTable) and not all(isinstance(path, bytes) for path in self.paths[:1]):
            raise TypeError(f"paths must be bytes, as os.fsencode returns them, not {type(self.paths[0]).__name__}")
        if not isinstance(self.root, bytes):
            raise TypeError(f"root must be a folder as bytes, not {type(self.root).__name__}")
        if not isinstance(self.label_names, tuple) or not all(isinstance(name, str) for name in self.label_names):
            raise TypeError(f"label_names must be a tuple of strings, not {type(self.label_names).__name__}")
        if self.labels is not None:
            _check_array("labels", self.labels, np.int32, (len(self), None)[: np.ndim(self.labels)])
        for name in ("sizes", "mtimes"):
            if getattr(self, name) is not None:
                _check_array(name, getattr(self, name), np.int64, (len(self),))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.paths)

    def __repr__(self) -> str:
        """Describe the records in one line: their number, and which fields are known."""
        known = [f"root {os.fsdecode(self.root)!r}"] if self.root else []
        known += (
            [f"{len(self.label_names)} class{'es' * (len(self.label_names) != 1)}"] if self.labels is not None else []
        )
        known += ["sizes and times"] if self.sizes is not None and self.mtimes is not None else []
        return f"<Records: {len(self)} path{'s' * (len(self) != 1)}{''.join(f', {what}' for what in known)}>"

    def path(self, row: int) -> str:
        """Return the path of a row as text, as Python's file functions take it."""
        _check_row(row, len(self))
        return os.fsdecode(os.path.join(self.root, self.paths[row]))

    def blocks(self) -> Iterator["Records"]:
        """Yield consecutive blocks of rows, in memory; one if there are no rows."""
        paths = self.paths if isinstance(self.paths, StringTable) else StringTable.of(self.paths)
        for block in paths.slices(extra=len(self.root)) if len(paths) else [slice(0, 0)]:
            yield self.take(block)

    def names(self, row: int) -> tuple[str, ...]:
        """Return the labels of a row: zero, one or several."""
        _check_row(row, len(self))
        if self.labels is None:
            return ()
        return tuple(self.label_names[place] for place in np.atleast_1d(self.labels[row]) if place != NO_LABEL)

    def paths_of(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the paths of rows (m,), in that order, as `paths` holds them."""
        paths = self.paths
        return paths.pick(rows) if isinstance(paths, StringTable) else [paths[row] for row in rows.tolist()]

    def labels_of(self, rows: NDArray[np.int64]) -> list[tuple[str, ...]]:
        """Return the labels of rows (m,), in that order."""
        if self.labels is None:
            return [()] * len(rows)
        names = self.label_names
        return [
            tuple(names[place] for place in places if place != NO_LABEL)
            for places in label_columns(self.labels[rows]).tolist()
        ]

    def full_paths(self) -> Iterator[bytes]:
        """Yield every path joined to the root, reading a few thousand at a time."""
        prefix = os.path.join(self.root, b"")
        return (path if path[:1] == b"/" else prefix + path for path in self.paths)

    @checked
    def join(self, other: "Records") -> "Records":
        """Return these rows followed by those of `other`, in memory, with the labels of both.

        If the roots differ, paths become absolute. Sizes and times that only one side has are unknown for the other.
        """
        layout = Layout.of([(part.root, part.label_names, width_of(part.labels)) for part in (self, other)])
        one, two = (part if part.root == layout.root else part.rootless() for part in (self, other))
        labels = [layout.labels(part.labels, part.label_names, len(part)) for part in (self, other)]
        return Records(
            StringTable.joined([_taken_paths(part.paths, slice(None)) for part in (one, two)]),
            layout.root,
            np.concatenate(labels) if layout.width else None,
            layout.names,
            _joined_stats(self.sizes, other.sizes, len(self), len(other)),
            _joined_stats(self.mtimes, other.mtimes, len(self), len(other)),
        )

    def rootless(self) -> "Records":
        """Return the rows with full paths, in memory."""
        paths = StringTable.joined([StringTable.of(list(block.full_paths())) for block in self.blocks()])
        return replace(self, paths=paths, root=b"")

    def take(self, which: Rows) -> "Records":
        """Return the rows of a slice with step 1, or where a mask (n,) is true, in memory."""
        _check_rows(which, len(self))
        return replace(
            self,
            paths=_taken_paths(self.paths, which),
            labels=None if self.labels is None else self.labels[which],
            sizes=None if self.sizes is None else self.sizes[which],
            mtimes=None if self.mtimes is None else self.mtimes[which],
        )


def _taken_paths(paths: Sequence[bytes], which: Rows) -> StringTable:
    if isinstance(paths, StringTable):
        return paths.take(which)
    return StringTable.of(paths[which]) if isinstance(which, slice) else StringTable.of(paths).take(which)


@dataclass(frozen=True)
class Layout:
    """The form that rows from several places have in common.

    Attributes:
        root: the folder that paths are relative to; empty if it is not the same for all.
        names: the names of all labels.
        width: most labels of a row.
    """

    root: bytes
    names: tuple[str, ...]
    width: int

    @classmethod
    def of(cls, parts: Sequence[tuple[bytes, tuple[str, ...], int]]) -> "Layout":
        """Return the layout for parts, given the root, the names of labels and the most labels of a row of each."""
        roots, names, widths = zip(*parts, strict=True)
        return cls(roots[0] if len(set(roots)) == 1 else b"", tuple(dict.fromkeys(chain(*names))), max(widths))

    def labels(self, labels: NDArray[np.int32] | None, names: tuple[str, ...], count: int) -> NDArray[np.int32]:
        """Return labels of `count` rows, given as positions in `names`; (count,) if no row has several."""
        found = np.full((count, self.width), NO_LABEL, np.int32)
        if labels is not None:
            places = {name: place for place, name in enumerate(self.names)}
            place = np.array([*(places[name] for name in names), NO_LABEL], np.int32)
            columns = label_columns(labels)
            found[:, : columns.shape[1]] = place[columns]  # of no label: the last
        return found[:, 0] if self.width == 1 else found

    def fit(self, records: Records) -> Records:
        """Return rows in this layout, in memory."""
        labels = self.labels(records.labels, records.label_names, len(records)) if self.width else None
        fitted = records if records.root == self.root else records.rootless()
        return replace(fitted, root=self.root, labels=labels, label_names=self.names)


def width_of(labels: NDArray[np.int32] | None) -> int:
    """Return the most labels of a row that `Records.labels` has room for."""
    return 0 if labels is None else label_columns(labels).shape[1]


@dataclass(frozen=True, eq=False, repr=False)
class Codes:
    """Codes in memory, with their records and model.

    Attributes:
        packed: the codes, (n, bits/8) uint8, in the bit order of `transhash.packing`.
        records: paths and labels of the rows.
        model: the model that made the codes.
        skipped: (path, reason) of each image that could not be encoded; paths are bytes, as in `records`.
        embeddings: the embeddings that the codes come from, (n, d) float16 of unit length; None if not kept.
    """

    packed: NDArray[np.uint8]
    records: Records
    model: ModelRef
    skipped: Sequence[tuple[bytes, str]] = field(default=())
    embeddings: NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        check_fields(self)
        count, width = len(self.records), self.model.bits // 8
        _check_array("packed", self.packed, np.uint8, (count, width))
        if self.embeddings is not None:
            _check_array("embeddings", self.embeddings, np.float16, (count, None))

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.packed)

    @property
    def bits(self) -> int:
        """The number of bits of each code."""
        return self.model.bits

    def __repr__(self) -> str:
        """Describe the codes in one line, without arrays."""
        extra = f", embeddings of {self.embeddings.shape[1]} numbers" if self.embeddings is not None else ""
        extra += f", {len(self.skipped)} skipped" if self.skipped else ""
        codes = f"{len(self)} code{'s' * (len(self) != 1)}"
        return f"<Codes: {codes} of {self.model.bits} bits by {self.model.name!r}{extra}>"

    def take(self, which: Rows) -> "Codes":
        """Return the rows of a slice with step 1, or where a mask (n,) is true, in memory, without `skipped`."""
        _check_rows(which, len(self))
        embeddings = None if self.embeddings is None else self.embeddings[which]
        return Codes(self.packed[which], self.records.take(which), self.model, (), embeddings)


def _check_array(name: str, value: Any, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Raise TypeError for anything but an array, MismatchError for another dtype or shape; None is any size."""
    check_plain(name, value)
    if not isinstance(value, np.ndarray | LazyColumn):
        raise TypeError(f"{name} must be an array of {dtype.__name__}, not {type(value).__name__}")
    sizes = zip(shape, value.shape, strict=False)
    fits = value.ndim == len(shape) and all(size in (None, found) for size, found in sizes)
    if value.dtype != dtype or not fits:
        wanted = ", ".join("d" if size is None else str(size) for size in shape)
        raise MismatchError(f"{name} is {value.dtype} of shape {value.shape}; expected {dtype.__name__} ({wanted})")


def _check_rows(which: Rows, count: int) -> None:
    if not isinstance(which, slice):
        _check_array("which", which, np.bool_, (count,))


def _check_row(row: int, count: int) -> None:
    if not isinstance(row, int | np.integer) or isinstance(row, bool):
        raise TypeError(f"row must be an integer, not {type(row).__name__}")
    if not -count <= row < count:
        raise PositionError(f"row {row} does not exist: {count} in all, numbered from 0")


def _joined_stats(
    one: NDArray[np.int64] | None, two: NDArray[np.int64] | None, *counts: int
) -> NDArray[np.int64] | None:
    if one is None and two is None:
        return None
    parts = [
        np.full(n, UNKNOWN, np.int64) if part is None else part for part, n in zip((one, two), counts, strict=True)
    ]
    return np.concatenate(parts)


def nullable(values: NDArray[np.int64] | None, count: int) -> list[int | None]:
    """Return sizes or times of `count` rows, as databases store them: None where they are unknown."""
    return [None] * count if values is None else [None if value == UNKNOWN else value for value in values.tolist()]


def check_labels(records: Records) -> None:
    """Raise MismatchError if a label of a row is not a position in the names."""
    labels, names = records.labels, len(records.label_names)
    if labels is not None and labels.size and not NO_LABEL <= labels.min() <= labels.max() < names:
        raise MismatchError(f"labels are positions in the {names} label_names, or -1 for none")


def label_columns(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return `Records.labels` with two axes, (n, L), even if rows have at most one label."""
    return labels if labels.ndim == 2 else labels[:, None]


def label_ids(labels: Sequence[tuple[str, ...]], most: int, ids: dict[str, int]) -> NDArray[np.int32]:
    """Return labels in the form of `Records.labels`: (n,) int32 if `most` is 1, else (n, most), padded with -1.

    `ids` maps names to positions; new names are added to it. Raises ValueError if a row has more than `most` labels.
    """
    rows = np.full((len(labels), most), NO_LABEL, dtype=np.int32)
    for row, names in zip(rows, labels, strict=True):
        if len(names) > most:
            raise ValueError(f"{len(names)} labels of a row; at most {most} were announced")
        row[: len(names)] = [ids.setdefault(name, len(ids)) for name in names]
    return rows[:, 0] if most == 1 else rows
