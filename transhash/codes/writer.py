"""Write codes files batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CodesError, MismatchError
from ..packing import BIT_ORDER
from ..system.arguments import checked
from ..system.files import MAX_PATH, display
from . import hdf5, header
from .checksums import SEGMENT_ROWS, LabelSums, SegmentSums, Streams, file_digest
from .deferred_errors import DeferredErrorFile
from .reader import MAX_WIDTH, check_replaceable
from .records import (
    MAX_LABELS,
    MAX_NAMES,
    MAX_SKIPPED,
    MAX_SKIPPED_BYTES,
    NO_LABEL,
    UNKNOWN,
    Codes,
    ModelRef,
    Records,
    check_labels,
    label_columns,
    label_ids,
)
from .strings import MAX_STRING, STRINGS, StringTable


class CodesWriter:
    """Writes a codes file batch by batch in constant memory; made by `CodesWriter.create`."""

    def __init__(
        self,
        file: hdf5.File,
        spool: DeferredErrorFile,
        model: ModelRef,
        root: bytes,
        labels: int,
        embeddings: int,
        stats: bool,
        share: str,
        origins: tuple[bytes, ...] | None,
    ) -> None:
        """Create the datasets of an empty file."""
        self._file = file
        self._spool = spool
        self._model = model
        self._root = root
        self._most = labels
        self._width = embeddings
        header.write(file, model, root, SEGMENT_ROWS, share, origins)
        self._codes = hdf5.Column(file, "codes", np.uint8, model.bits // 8, deflated=False)
        self._paths = hdf5.Strings(file, "path")
        self._labels = hdf5.Column(file, "labels", np.int32, None if labels == 1 else labels) if labels else None
        self._embeddings = (
            hdf5.Column(file, "embeddings", np.float16, embeddings, deflated=False) if embeddings else None
        )
        self._sizes = hdf5.Column(file, "sizes", np.int64) if stats else None
        self._mtimes = hdf5.Column(file, "mtimes", np.int64) if stats else None
        self._skipped = [hdf5.Strings(file, name) for name in ("skipped_path", "skipped_reason")]
        self._waiting: list[tuple[bytes, bytes]] = []
        self._label_ids: dict[str, int] = {}
        self._label_sums = LabelSums()
        self._segments = SegmentSums(SEGMENT_ROWS)
        self._skipped_sums = Streams(4)
        self._skipped_count = self._skipped_bytes = self._names_bytes = 0

    @classmethod
    @contextmanager
    def create(
        cls,
        path: Path,
        model: ModelRef,
        root: bytes = b"",
        *,
        labels: int = 0,
        embeddings: int = 0,
        stats: bool = False,
        share: str = "",
        origins: tuple[bytes, ...] | None = None,
        temporary: Path | None = None,
    ) -> Iterator[Self]:
        """Write codes of `model` to `path`.

        The file appears, whole, when the block ends; if it ends with an error, an existing file stays.

        Args:
            path: the codes file; an existing one is replaced.
            model: what makes the codes.
            root: the folder that the paths are relative to.
            labels: maximum number of labels of a row; 0 without labels.
            embeddings: dimension of the embeddings; 0 without embeddings.
            stats: whether sizes and times of the image files are stored.
            share: which share of the images these are, as I/N; empty for all images.
            origins: what the images were read from, as in `Header`; not kept if that is more than 32 KiB.
            temporary: folder for the unfinished file, in the same file system; that of `path` if not given.

        Raises CodesError if something other than a codes file exists there, or labels or embeddings are wider than
        a codes file holds; OSError if it cannot be written.
        """
        check_replaceable(path)
        if labels > MAX_LABELS:
            raise CodesError(
                f"{path}: an image has {labels} labels, a codes file holds at most {MAX_LABELS}; remove some"
            )
        if embeddings > MAX_WIDTH:
            raise CodesError(
                f"{path}: embeddings of {embeddings} numbers, a codes file holds at most {MAX_WIDTH}; leave them out"
            )
        model = replace(model, name=_utf8(model.name).decode(), digest=_utf8(model.digest).decode())
        try:
            header.check(model, root, share)
        except ValueError as error:
            raise CodesError(f"{display(path)}: {error}") from None
        with hdf5.created(path, temporary) as (file, spool):
            writer = cls(file, spool, model, root, labels, embeddings, stats, share, origins)
            yield writer
            writer._finish()

    def append(
        self,
        codes: NDArray[np.uint8],
        paths: Sequence[bytes],
        labels: Sequence[tuple[str, ...]] | None = None,
        *,
        embeddings: NDArray[np.floating] | None = None,
        sizes: NDArray[np.int64] | None = None,
        mtimes: NDArray[np.int64] | None = None,
    ) -> None:
        """Append rows.

        Args:
            codes: (n, bits/8) uint8.
            paths: n paths, of at most 4,096 bytes.
            labels: the labels of each row, if `create` was told that there are some.
            embeddings: (n, d) of real numbers, kept as float16: exactly if `create` was given d.
            sizes: (n,) bytes of the image files, -1 unknown; all unknown if not given.
            mtimes: (n,) nanoseconds of their last change, as `sizes`.

        Raises CodesError if a path or a label (of at most 65,536 bytes) is longer; MismatchError if these
        do not fit one another; ValueError if they do not fit what `create` was told.
        """
        with self._whole_or_not():
            ids = label_ids(labels or [()] * len(codes), self._most, self._label_ids)
            stats = _array(sizes, np.int64), _array(mtimes, np.int64)
            records = Records(paths, b"", ids if self._most else None, (), *stats)
            self._write(Codes(codes, records, self._model, (), _array(embeddings, np.float16)))

    def extend(self, rows: Codes) -> None:
        """Append rows in memory, with everything except root and model.

        Raises CodesError if a path is longer than 4,096 bytes or a label than 65,536; ValueError if they hold what
        `create` was not told of, or lack the embeddings that it was told of.
        """
        labels = rows.records.labels
        with self._whole_or_not():
            ids = None if labels is None else self._numbered(labels, rows.records.label_names)
            records = Records(rows.records.paths, b"", ids, (), rows.records.sizes, rows.records.mtimes)
            self._write(Codes(rows.packed, records, self._model, (), rows.embeddings))

    def skip(self, path: bytes, reason: str) -> None:
        """Record that `path` has no row, and why.

        Raises CodesError if that is more than a codes file holds: 4,194,304 skipped images, or 512 MiB.
        """
        entry = path[:MAX_STRING], _utf8(reason[: MAX_STRING // 4])
        self._skipped_count += 1
        self._skipped_bytes += len(entry[0]) + len(entry[1])
        if self._skipped_count > MAX_SKIPPED or self._skipped_bytes > MAX_SKIPPED_BYTES:
            raise CodesError(
                f"{self._skipped_count:,} skipped images: more than a codes file holds; split the source"
            )
        self._waiting.append(entry)
        if len(self._waiting) == STRINGS:
            self._write_skipped()

    @contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        """Discard the labels of rows that are rejected."""
        try:
            yield
        except (CodesError, MismatchError, ValueError):
            while len(self._label_ids) > len(self._label_sums):
                self._label_ids.popitem()
            raise

    def _write(self, block: Codes) -> None:
        """Write rows whose labels have this file's numbers. Raises ValueError if they are not as announced."""
        block = self._fitted(block)
        self._take_new_names()
        records = block.records
        columns = (self._labels, self._embeddings, self._sizes, self._mtimes)
        self._codes.extend(block.packed)
        self._paths.extend(records.paths)
        for column, rows in zip(
            columns, (records.labels, block.embeddings, records.sizes, records.mtimes), strict=True
        ):
            if column is not None and rows is not None:
                column.extend(rows)
        self._segments.update(block, self._label_sums)
        self._spool.check()

    def _fitted(self, block: Codes) -> Codes:
        """Return rows with exactly the columns that were announced, or raise ValueError."""
        records, count, stats = block.records, len(block), self._sizes is not None
        if not stats and (records.sizes is not None or records.mtimes is not None):
            raise ValueError("sizes and times were not announced")
        if (block.embeddings is None) != (self._embeddings is None):
            raise ValueError(f"embeddings of {self._width} numbers were announced")
        _check_lengths("path", records.paths, MAX_PATH)
        paths = StringTable.of(records.paths)
        fitted = Records(
            paths,
            b"",
            self._columns(records.labels, count),
            (),
            _known(records.sizes, count) if stats else None,
            _known(records.mtimes, count) if stats else None,
        )
        if block.embeddings is not None:
            _check_shape("embeddings", block.embeddings, (count, self._width))
        return Codes(block.packed, fitted, self._model, (), block.embeddings)

    def _columns(self, labels: NDArray[np.int32] | None, count: int) -> NDArray[np.int32] | None:
        """Return labels as the file has them: (n,) if a row has one at most, else (n, announced)."""
        given = np.empty((count, 0), np.int32) if labels is None else label_columns(labels)
        if len(given) != count or (given[:, self._most :] != NO_LABEL).any():
            raise ValueError(f"labels {given.shape}: expected ({count}, {self._most}) as announced")
        columns = np.full((count, self._most), NO_LABEL, np.int32)
        columns[:, : given.shape[1]] = given[:, : self._most]
        return columns[:, 0] if self._most == 1 else columns if self._most else None

    def _numbered(self, labels: NDArray[np.int32], names: tuple[str, ...]) -> NDArray[np.int32]:
        """Return labels renumbered for this file, in the order of their first appearance."""
        places, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        numbers = np.full(len(places), NO_LABEL, np.int32)
        for place in np.argsort(first):
            if places[place] != NO_LABEL:
                numbers[place] = self._label_ids.setdefault(names[places[place]], len(self._label_ids))
        return numbers[inverse].reshape(labels.shape)

    def _take_new_names(self) -> None:
        """Compute the digests of the names that the last rows added."""
        count = len(self._label_ids) - len(self._label_sums)
        new = [_utf8(name) for name in islice(reversed(self._label_ids), count)][::-1]
        _check_lengths("label", new, MAX_STRING)
        self._names_bytes += sum(map(len, new))
        if self._names_bytes > MAX_NAMES:
            raise CodesError(f"label names of {self._names_bytes:,} bytes: a codes file holds at most {MAX_NAMES:,}")
        self._label_sums.extend(new)

    def _write_skipped(self) -> None:
        tables = [StringTable.of([item[side] for item in self._waiting]) for side in (0, 1)]
        for strings, table in zip(self._skipped, tables, strict=True):
            strings.extend(table)
        self._skipped_sums.update_strings(*tables)
        self._waiting.clear()
        self._spool.check()

    def _finish(self) -> None:
        self._write_skipped()
        if self._labels is not None:
            _write_label_names(self._file, list(self._label_ids))
        segments = self._segments.finish()
        self._file.create_dataset("segment_checksums", data=segments)
        self._file.attrs["digest"] = file_digest(
            header.VERSION,
            BIT_ORDER,
            self._model,
            self._root,
            SEGMENT_ROWS,
            self._segments.rows,
            self._width,
            segments,
            self._label_sums,
            self._skipped_sums,
        )


@checked
def write_codes(path: str | Path, codes: Codes) -> None:
    """Write codes to a file, replacing an existing codes file.

    Raises CodesError if something else exists there, OSError if the file cannot be written.
    """
    records = codes.records
    check_labels(records)
    with CodesWriter.create(
        Path(path),
        codes.model,
        records.root,
        labels=0 if records.labels is None else label_columns(records.labels).shape[1],
        embeddings=0 if codes.embeddings is None else codes.embeddings.shape[1],
        stats=records.sizes is not None or records.mtimes is not None,
    ) as writer:
        for start in range(0, len(codes), STRINGS):
            writer.extend(codes.take(slice(start, start + STRINGS)))
        for skipped, reason in codes.skipped:
            writer.skip(skipped, reason)


def write_records(path: Path, blocks: Iterable[Records]) -> None:
    """Write only paths and labels, in the layout of a codes file, as an index stores them.

    There must be at least one block, and all blocks must have the same root and label names.
    """
    blocks = iter(blocks)
    first = next(blocks)
    with hdf5.created(path) as (file, _):
        file.attrs["root"] = np.frombuffer(first.root, dtype=np.uint8)
        paths, labels = hdf5.Strings(file, "path"), None
        if first.labels is not None:
            _write_label_names(file, first.label_names)
            labels = hdf5.Column(file, "labels", np.int32, None if first.labels.ndim == 1 else first.labels.shape[1])
        for block in chain([first], blocks):
            paths.extend(block.paths)
            if labels is not None and block.labels is not None:
                labels.extend(block.labels)


def _write_label_names(file: hdf5.File, names: Sequence[str]) -> None:
    hdf5.Strings(file, "label_name").extend([_utf8(name) for name in names])


def _array(values: NDArray[Any] | None, dtype: type[np.generic]) -> NDArray[Any] | None:
    return None if values is None else np.asarray(values, dtype)


def _known(values: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """Return sizes or times, all unknown if they are not given. Raises ValueError if they are not one a row."""
    known = np.full(count, UNKNOWN, np.int64) if values is None else np.asarray(values, dtype=np.int64)
    _check_shape("sizes or times", known, (count,))
    return known


def _check_lengths(what: str, strings: Sequence[bytes], most: int) -> None:
    lengths = strings.lengths if isinstance(strings, StringTable) else np.fromiter(map(len, strings), np.int64)
    longest = int(lengths.max(initial=0))
    if longest > most:
        raise CodesError(f"a {what} of {longest:,} bytes: a codes file holds at most {most:,}; shorten it")


def _check_shape(what: str, values: NDArray[Any], wanted: tuple[int, ...]) -> None:
    if values.shape != wanted:
        raise ValueError(f"{what} of shape {values.shape}: expected {wanted}")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
