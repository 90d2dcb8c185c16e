"""Read codes files: completely, or block by block in constant memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from os.path import join
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CodesError, OutputError, one_line
from ..packing import BIT_ORDER
from ..system import files, memory
from ..system.arguments import checked
from ..system.progress import Progress, silent
from . import hdf5, header
from .checksums import SIZE, LabelSums, Streams, file_digest
from .guard import guarded
from .records import MAX_LABELS, MAX_NAMES, MAX_SKIPPED, MAX_SKIPPED_BYTES, NO_LABEL, Codes, Records
from .strings import BLOCK_BYTES, STRINGS

MAX_WIDTH = 1 << 16  # dimensions of an embedding
_STRING_BYTES = 200  # memory that a short string takes
_SKIPPED = 1 << 8  # skipped images read at a time


class CodesFile:
    """An open codes file, whose rows are read on demand; `open_codes` returns it.

    It implements `transhash.backends.CodeRows`.

    Attributes:
        path: the file.
        header: its attributes.
        label_names: the names of the classes.
        labels: maximum number of labels of a row; 0 without labels.
        embeddings: dimension of the embeddings; 0 without embeddings.
        stats: whether sizes and times of the image files are stored.
        segments: the checksums of the segments, (S, 32) uint8; empty in version 0.
    """

    def __init__(self, file: hdf5.File, path: Path) -> None:
        """Check the header and the number of rows in every dataset. Raises ValueError."""
        self.path = path
        self.header = header.read(file)
        self._codes = hdf5.dataset(file, "codes", np.uint8, ndim=(2,), deflated=False)
        if self._codes.shape[1] * 8 != self.header.model.bits:
            found, wanted = self._codes.shape[1] * 8, self.header.model.bits
            raise ValueError(f"codes of {found} bits, but the header says {wanted}")
        self._records = RecordsFile(file, len(self), stats=self.header.version > 0)
        self._embeddings = (
            _column(file, "embeddings", np.float16, len(self), 2, deflated=False) if self.header.version else None
        )
        self._skipped = hdf5.table(file, "skipped_path"), hdf5.table(file, "skipped_reason")
        if len(self._skipped[0]) != len(self._skipped[1]):
            raise ValueError("skipped paths and reasons differ in number")
        if len(self._skipped[0]) > MAX_SKIPPED or sum(len(table.blob) for table in self._skipped) > MAX_SKIPPED_BYTES:
            raise ValueError(f"{len(self._skipped[0])} skipped images")
        self.label_names = self._records.label_names
        self.labels = self._records.width
        self.embeddings = 0 if self._embeddings is None else int(self._embeddings.shape[1])
        if self.embeddings > MAX_WIDTH or (self._embeddings is not None and not self.embeddings):
            raise ValueError(f"embeddings of {self.embeddings} dimensions")
        self.stats = self._records.stats
        self.segments = self._checked_segments(file) if self.header.version else np.empty((0, SIZE), np.uint8)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._codes)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the codes, (n, bits/8)."""
        return self._codes.shape

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Return the codes of a slice with step 1, without their records. Raises CodesError if they are damaged."""
        try:
            return self._codes[rows]
        except hdf5.DAMAGE as error:
            raise self._damaged(rows.start, rows.stop, error) from error

    def records(self) -> Iterator[Records]:
        """Yield the records of consecutive blocks of rows. Raises CodesError if they are damaged."""
        for block in self._records.slices(0, len(self), STRINGS):
            try:
                yield self._records.read(block.start, block.stop)
            except hdf5.DAMAGE as error:
                raise self._damaged(block.start, block.stop, error) from error

    def read(self, start: int, stop: int, *, embeddings: bool = True) -> Codes:
        """Return rows in memory. Raises CodesError if the file is damaged there."""
        try:
            vectors = self._embeddings[start:stop] if embeddings and self._embeddings is not None else None
            records = self._records.read(start, stop)
            return Codes(self._codes[start:stop], records, self.header.model, (), vectors)
        except hdf5.DAMAGE as error:
            raise self._damaged(start, stop, error) from error

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the embeddings (m, d) of rows (m,), if the file has them. Raises CodesError if it is damaged."""
        assert self._embeddings is not None
        found = np.empty((len(rows), self.embeddings), np.float16)
        try:
            for place in np.argsort(rows):  # in the order of the file, so that no chunk is read twice
                found[place] = self._embeddings[rows[place]]
        except hdf5.DAMAGE as error:
            raise CodesError(f"{self.path}: embeddings: damaged ({one_line(error)}); encode again") from error
        return found

    def blocks(
        self, start: int = 0, stop: int | None = None, *, embeddings: bool = True
    ) -> Iterator[tuple[int, Codes]]:
        """Yield the first row and the codes of consecutive blocks, each of a few thousand rows and a few megabytes.

        Raises CodesError at the first damaged block.
        """
        width = self.header.model.bits // 8 + 4 * self.labels + (2 * self.embeddings if embeddings else 0)
        step = max(1, min(STRINGS, BLOCK_BYTES // width))
        for block in self._records.slices(start, len(self) if stop is None else stop, step):
            yield block.start, self.read(block.start, block.stop, embeddings=embeddings)

    def skipped(self) -> Iterator[tuple[bytes, str]]:
        """Yield (path, reason) of each image that could not be encoded. Raises CodesError if these are damaged."""
        for path, reason in zip(*self._skipped, strict=True):
            try:
                yield path, reason.decode("utf-8")
            except UnicodeDecodeError as error:
                raise CodesError(f"{self.path}: damaged (a reason is not UTF-8); encode again") from error

    def whole(self, *, embeddings: bool = False) -> Codes:
        """Return all rows in memory, except the paths, which are read from the file on demand.

        Raises CodesError if memory cannot hold them.
        """
        vectors = self._embeddings if embeddings else None
        needed = self._codes.nbytes + self._records.nbytes + _STRING_BYTES * len(self._skipped[0])
        _check_memory(needed + (0 if vectors is None else vectors.nbytes), self.path)
        return Codes(
            self._codes[:],
            self._records.whole(),
            self.header.model,
            list(self.skipped()),
            None if vectors is None else vectors[:],
        )

    def _damaged(self, start: int, stop: int, error: Exception) -> CodesError:
        return CodesError(f"{self.path}: rows {start} to {stop - 1}: damaged ({one_line(error)}); encode again")

    def _checked_segments(self, file: hdf5.File) -> NDArray[np.uint8]:
        """Return the segments' checksums, after comparing header, label names and skipped images with the digest."""
        wanted = -(-len(self) // self.header.segment_rows)
        segments = hdf5.dataset(file, "segment_checksums", np.uint8, ndim=(2,), deflated=False)
        if segments.shape != (wanted, SIZE):
            raise ValueError(f"{segments.shape} checksums for {wanted} segments")
        checksums = np.asarray(segments[:])
        skipped = Streams(4)
        for start in range(0, len(self._skipped[0]), _SKIPPED):
            skipped.update_strings(*(table.take(slice(start, start + _SKIPPED)) for table in self._skipped))
        found = file_digest(
            self.header.version,
            BIT_ORDER,
            self.header.model,
            self.header.root,
            self.header.segment_rows,
            len(self),
            self.embeddings,
            checksums,
            LabelSums(name.encode("utf-8") for name in self.label_names),
            skipped,
        )
        if found != self.header.digest:
            raise ValueError("header, label names, skipped images or checksums have changed")
        return checksums


class RecordsFile:
    """Paths, labels, sizes and times in an open file."""

    def __init__(self, file: hdf5.File, count: int, *, stats: bool) -> None:
        """Check that there are records for `count` rows. Raises ValueError."""
        self._root = header.root(file)
        self._paths = hdf5.table(file, "path")
        if len(self._paths) != count:
            raise ValueError(f"{count} codes and {len(self._paths)} paths")
        self._labels = _column(file, "labels", np.int32, count, 1, 2)
        self._sizes = _column(file, "sizes", np.int64, count, 1) if stats else None
        self._mtimes = _column(file, "mtimes", np.int64, count, 1) if stats else None
        self.stats = self._sizes is not None and self._mtimes is not None
        if (self._sizes is None) != (self._mtimes is None):
            raise ValueError("sizes without times, or times without sizes")
        self.width = 0
        self.label_names: tuple[str, ...] = ()
        if self._labels is not None:
            self.width = 1 if self._labels.ndim == 1 else int(self._labels.shape[1])
            if not 1 <= self.width <= MAX_LABELS:
                raise ValueError(f"{self.width} labels per row")
            names = hdf5.table(file, "label_name")
            if len(names.blob) > MAX_NAMES or len(names) > max(len(names.blob), count * self.width) + 1:
                raise ValueError(f"{len(names)} label names of {len(names.blob)} bytes")
            self.label_names = tuple(name.decode("utf-8") for name in names)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take in memory, without their paths."""
        columns = (self._labels, self._sizes, self._mtimes)
        return sum(int(column.nbytes) for column in columns if column is not None)

    def slices(self, start: int, stop: int, most: int) -> Iterator[slice]:
        """Yield consecutive slices of at most `most` rows whose full paths fit into a block."""
        return self._paths.slices(start, stop, most, extra=len(self._root))

    def read(self, start: int, stop: int) -> Records:
        """Return rows in memory. Raises ValueError or CodesError if they are damaged."""
        paths = self._paths.take(slice(start, stop))
        longest = int(paths.lengths.max(initial=0))
        if longest > files.MAX_PATH:
            raise ValueError(f"a path of {longest:,} bytes: a codes file holds at most {files.MAX_PATH:,}")
        return self._of(paths, slice(start, stop))

    @property
    def root(self) -> bytes:
        """The folder that paths are relative to."""
        return self._root

    def pick(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the full paths of rows (m,). Raises CodesError if they are damaged."""
        return [join(self._root, path) for path in self._paths.pick(rows)]

    def blocks(self) -> Iterator[tuple[int, Records]]:
        """Yield the first row and the records of consecutive blocks. Raises CodesError if they are damaged."""
        for block in self.slices(0, len(self._paths), STRINGS):
            try:
                yield block.start, self.read(block.start, block.stop)
            except hdf5.DAMAGE as error:
                raise CodesError(
                    f"{self._paths.where}: rows {block.start} to {block.stop - 1}: damaged ({one_line(error)}); "
                    "build the index again"
                ) from error

    def whole(self) -> Records:
        """Return all rows: in memory, except for the paths, which are read from the file on demand."""
        return self._of(self._paths, slice(None))

    def _of(self, paths: Any, rows: slice) -> Records:
        return Records(
            paths,
            self._root,
            None if self._labels is None else self._checked(self._labels[rows]),
            self.label_names,
            None if self._sizes is None else self._sizes[rows],
            None if self._mtimes is None else self._mtimes[rows],
        )

    def _checked(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        if len(labels) and not (labels.min() >= NO_LABEL and labels.max() < len(self.label_names)):
            raise ValueError("a label has no name")
        if labels.ndim == 2 and ((labels[:, 1:] != NO_LABEL) & (labels[:, :-1] == NO_LABEL)).any():
            raise ValueError("a label follows the end of its row")
        return labels


@contextmanager
def open_codes(
    path: str | Path, *, embeddings: bool = True, trusted: bool = False, on_rows: Progress = silent
) -> Iterator[CodesFile]:
    """Open a codes file to read its rows block by block.

    Args:
        path: the codes file.
        embeddings: whether its embeddings will be read.
        trusted: that this program wrote the file, or has opened it before; otherwise a child process reads all of it
            before this one touches it (`guard`).
        on_rows: called with the rows that this process has read so far, and their number; may raise.

    Raises CodesError if there is no such file, or it is no codes file, damaged, or of an unknown version.
    """
    path = Path(path)
    _check_in_child(path, embeddings, trusted, on_rows)
    with hdf5.opened(path) as file:
        found = CodesFile(file, path)
    try:
        yield found
    finally:
        file.close()


@checked
def read_codes(path: str | Path, *, embeddings: bool = False, trusted: bool = False) -> Codes:
    """Read a codes file: codes, labels, sizes and times into memory, paths on demand.

    Args:
        path: the codes file.
        embeddings: read these too, if there are some; they are many times larger than all the rest.
        trusted: that this program wrote the file, or has opened it before; otherwise a child process reads all of it
            before this one touches it (`guard`).

    Raises CodesError if there is no such file, or it is no codes file, damaged, or of an unknown version.
    """
    path = Path(path)
    _check_in_child(path, embeddings, trusted)
    with hdf5.opened(path) as file:
        return CodesFile(file, path).whole(embeddings=embeddings)


def open_records(path: Path, count: int) -> Records:
    """Open what `write_records` wrote for `count` rows; paths are read from the file on demand.

    No child process goes first, as it does for a codes file: the caller has compared the file's SHA-256.

    Raises CodesError if the file is damaged.
    """
    with hdf5.opened(path) as file:
        records = RecordsFile(file, count, stats=False)
        _check_memory(records.nbytes, path)
        return records.whole()


@contextmanager
def opened_records(path: Path, count: int) -> Iterator[RecordsFile]:
    """Open what `write_records` wrote for `count` rows, to read it block by block; as `open_records`."""
    with hdf5.opened(path) as file:
        found = RecordsFile(file, count, stats=False)
    try:
        yield found
    finally:
        file.close()


def is_codes_file(path: Path) -> bool:
    """Return whether a file says that it is a codes file."""
    if not hdf5.is_hdf5(path):
        return False
    try:
        return guarded(lambda report: _claim(path), path) is not None
    except CodesError:
        return False


def check_replaceable(path: Path, share: str = "") -> None:
    """Raise OutputError if `path` exists and is not a codes file, or one of another share than `share`."""
    files.check_replaceable(path, is_codes_file, "a codes file")
    held = share and path.exists() and guarded(lambda report: _claim(path), path)
    if held and held != share:
        raise OutputError(f"{path}: holds share {held}; give share {share} an output of its own")


def _check_in_child(path: Path, embeddings: bool, trusted: bool, on_rows: Progress = silent) -> None:
    """Let a child process read a file that may be damaged."""
    hdf5.check_file(path)
    if not trusted:
        guarded(lambda report: _walk(path, embeddings, report), path, on_rows)


def _walk(path: Path, embeddings: bool, report: Progress) -> str:
    """Read all that a reader might. Raises CodesError at the first damage."""
    with hdf5.opened(path) as file:
        found = CodesFile(file, path)
    for start, block in found.blocks(embeddings=embeddings):
        report(start + len(block), len(found))
    for _ in found.skipped():
        pass
    return ""


def _claim(path: Path) -> str | None:
    """Return the share of the images in a codes file, as I/N; None if the file is not a codes file."""
    with hdf5.opened(path) as file:
        return header.share(file) if header.claims(file) else None


def _column(
    file: hdf5.File, name: str, dtype: type[np.generic], count: int, *ndim: int, deflated: bool = True
) -> Any:
    """Return an optional dataset with one row for each of `count`, or None. Raises ValueError if it has others."""
    if name not in file:
        return None
    found = hdf5.dataset(file, name, dtype, ndim=ndim, deflated=deflated)
    if len(found) != count:
        raise ValueError(f"{count} codes and {len(found)} {name}")
    return found


def _check_memory(needed: int, path: Path) -> None:
    """Raise CodesError if the machine has less memory than a file asks for: a small one can ask for much."""
    there = memory.installed()
    if there is not None and needed > there:
        raise CodesError(f"{path}: needs {needed >> 30} GiB of memory, but this machine has {there >> 30}; split it")
