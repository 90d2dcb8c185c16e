"""The codes file: packed codes, paths and labels in HDF5. The only module that touches h5py.

Format, byte by byte: ``docs/codes-format.md``.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, overload

import h5py
import numpy as np
from numpy.typing import NDArray

from . import files
from .errors import CodesError
from .packing import BIT_ORDER, check_bits
from .spool import Spool

FORMAT = "transhash-codes"
VERSION = 0
NO_LABEL = -1
MAX_LABELS = 1024  # of one image

_CHUNK = 1 << 15  # bytes in a chunk
_STRINGS = 1 << 14  # strings read or written at a time
_MAX_STRING = 1 << 16  # bytes in one stored string
_FILTERS = {"deflate", "fletcher32", "shuffle"}
_MAX_DEFLATE = 1032  # no more than this many bytes come out of one


class StringTable(Sequence[bytes]):
    """Byte strings laid end to end: string i is `blob[offsets[i]:offsets[i + 1]]`.

    Works over arrays in memory and over HDF5 datasets, of which only the asked-for slices are read, so that a
    table may be larger than memory.
    """

    def __init__(self, blob: Any, offsets: Any) -> None:
        """Take `blob` (total,) uint8 and `offsets` (n + 1,) uint64."""
        self.blob = blob
        self.offsets = offsets

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Self:
        """Lay out the given strings."""
        offsets = np.zeros(len(strings) + 1, dtype=np.uint64)
        np.cumsum([len(string) for string in strings], out=offsets[1:])
        return cls(np.frombuffer(b"".join(strings), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Return string `index`, or the strings of a slice with step 1.

        Raises CodesError if the file under the table is damaged there.
        """
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return self._read(start, max(start, stop))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._read(index % len(self), index % len(self) + 1)[0]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the strings, reading some thousands at a time."""
        for start in range(0, len(self), _STRINGS):
            yield from self[start : start + _STRINGS]

    def _read(self, start: int, stop: int) -> list[bytes]:
        try:
            ends = np.asarray(self.offsets[start : stop + 1]).astype(np.int64)
            if (np.diff(ends) < 0).any() or (np.diff(ends) > _MAX_STRING).any() or ends[-1] > len(self.blob):
                raise CodesError(f"rows {start} to {stop}: damaged offsets; write the file again")
            block = np.asarray(self.blob[ends[0] : ends[-1]]).tobytes()
        except OSError as error:
            raise CodesError(f"rows {start} to {stop}: damaged ({_line(error)}); write the file again") from error
        places = ends - ends[0]
        return [block[place:end] for place, end in pairwise(places)]


@dataclass(frozen=True)
class ModelRef:
    """What made some codes.

    Attributes:
        name: ``phash``, or the hasher's path when the images were encoded.
        digest: identity of the model: codes are comparable exactly if their digests are equal.
        bits: width of its codes.
    """

    name: str
    digest: str
    bits: int


@dataclass(frozen=True, eq=False)
class Records:
    """What belongs to a row besides its code.

    Attributes:
        paths: n paths as bytes, relative to `root` unless absolute.
        root: the folder that was encoded, as bytes; empty if there was none.
        labels: positions in `label_names`: (n,) int32 where rows have one at most, -1 for none; (n, L) int32 where
            they have up to L, with -1 at the end of those that have fewer; None if no row has a label.
        label_names: the names of the classes.
    """

    paths: Sequence[bytes]
    root: bytes = b""
    labels: NDArray[np.int32] | None = None
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.paths)

    def path(self, row: int) -> str:
        """Return the path of a row as the file system's functions take it."""
        return _join(self.root, self.paths[row])

    def names(self, row: int) -> tuple[str, ...]:
        """Return the labels of a row; none, one or several."""
        if self.labels is None:
            return ()
        return tuple(self.label_names[place] for place in np.atleast_1d(self.labels[row]) if place != NO_LABEL)


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes in memory, with what they belong to.

    Attributes:
        codes: (n, bits/8) uint8, packed as `transhash.packing` says.
        records: paths and labels of the rows.
        model: what made the codes.
        skipped: (path, reason) of what could not be encoded.
    """

    codes: NDArray[np.uint8]
    records: Records
    model: ModelRef
    skipped: Sequence[tuple[bytes, str]] = field(default=())

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.codes)


class CodesWriter:
    """Writes a codes file batch by batch; made by `CodesWriter.create`."""

    def __init__(self, file: h5py.File, spool: Spool, model: ModelRef, root: bytes, labels: int) -> None:
        """Lay out an empty file."""
        self._file = file
        self._spool = spool
        self._labels = labels
        self._label_ids: dict[str, int] = {}
        self._skipped: list[tuple[bytes, str]] = []
        _write_header(file, model, root)
        _growing(file, "codes", np.uint8, width=check_bits(model.bits) // 8)
        _growing_table(file, "path")
        if labels:
            _growing_labels(file, None if labels == 1 else labels)

    @classmethod
    @contextmanager
    def create(cls, path: Path, model: ModelRef, root: bytes = b"", *, labels: int = 0) -> Iterator[Self]:
        """Write codes of `model` to `path`, with up to `labels` labels a row.

        The file appears, whole, when the block ends; if it ends with an error, what stood there stays.
        Raises CodesError if something other than a codes file stands there or an image can have more than
        `MAX_LABELS` labels, OSError if it cannot be written.
        """
        check_replaceable(path)
        if labels > MAX_LABELS:
            raise CodesError(f"{path}: an image has {labels} labels, a codes file holds {MAX_LABELS}; take some away")
        with _created(path) as (file, spool):
            writer = cls(file, spool, model, root, labels)
            yield writer
            if labels:
                _write_table(file, "label_name", [_utf8(name) for name in writer._label_ids])
            _write_skipped(file, writer._skipped)

    def append(
        self, codes: NDArray[np.uint8], paths: Sequence[bytes], labels: Sequence[tuple[str, ...]] | None = None
    ) -> None:
        """Append codes (n, bits/8) uint8 with their n paths and, in a labelled file, the labels of each."""
        if len(codes) != len(paths) or (labels is not None and len(labels) != len(codes)):
            raise ValueError(f"{len(codes)} codes, {len(paths)} paths: every row needs one of each")
        _extend(self._file["codes"], codes)
        _extend_table(self._file, "path", paths)
        if self._labels:
            _extend(self._file["labels"], label_ids(labels or [()] * len(codes), self._labels, self._label_ids))
        self._spool.check()

    def skip(self, path: bytes, reason: str) -> None:
        """Record that `path` has no row, and why."""
        self._skipped.append((path[:_MAX_STRING], reason))


def label_ids(labels: Sequence[tuple[str, ...]], most: int, ids: dict[str, int]) -> NDArray[np.int32]:
    """Return labels as `Records.labels` holds them: (n,) int32 if `most` is 1, else (n, most), padded with -1.

    `ids` holds the positions of the names, and grows by those it lacks. Raises ValueError if a row has more labels.
    """
    rows = np.full((len(labels), most), NO_LABEL, dtype=np.int32)
    for row, names in zip(rows, labels, strict=True):
        if len(names) > most:
            raise ValueError(f"{len(names)} labels of a row, where {most} were announced")
        row[: len(names)] = [ids.setdefault(name, len(ids)) for name in names]
    return rows[:, 0] if most == 1 else rows


def write_codes(path: str | Path, codes: Codes) -> None:
    """Write codes to a file, replacing a codes file that stands there.

    Raises CodesError if something else stands there, OSError if the file cannot be written.
    """
    path = Path(path)
    check_replaceable(path)
    with _created(path) as (file, _):
        _write_header(file, codes.model, codes.records.root)
        _growing(file, "codes", np.uint8, width=check_bits(codes.model.bits) // 8)
        _extend(file["codes"], codes.codes)
        _write_records(file, codes.records)
        _write_skipped(file, codes.skipped)


def read_codes(path: str | Path) -> Codes:
    """Read a codes file: codes and labels into memory, paths as they are asked for.

    Raises CodesError if there is no such file, or it is no codes file, damaged, or of an unknown version.
    """
    with _opened(Path(path)) as file:
        model = _read_model(file)
        codes = _dataset(file, "codes", np.uint8, ndim=(2,))
        if codes.shape[1] * 8 != model.bits:
            raise ValueError(f"codes of {codes.shape[1] * 8} bits under a header of {model.bits}")
        return Codes(codes[:], _read_records(file, len(codes)), model, _read_skipped(file))


def write_records(path: Path, records: Records) -> None:
    """Write paths and labels alone, in the layout of a codes file: what an index keeps of it."""
    with _created(path) as (file, _):
        file.attrs["root"] = np.frombuffer(records.root, dtype=np.uint8)
        _write_records(file, records)


def open_records(path: Path, count: int) -> Records:
    """Open what `write_records` wrote for `count` rows; paths are read from the file as they are asked for.

    Raises CodesError if the file is damaged.
    """
    with _opened(path) as file:
        return _read_records(file, count)


def is_codes_file(path: Path) -> bool:
    """Return whether a file says that it is a codes file."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return bool(np.all(file.attrs.get("format") == FORMAT))
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):
        return False


def check_replaceable(path: Path) -> None:
    """Raise CodesError if something other than a codes file stands at `path`."""
    if path.exists() and not is_codes_file(path):
        raise CodesError(f"{path}: exists and is not a codes file; choose another output")


@contextmanager
def _created(path: Path) -> Iterator[tuple[h5py.File, Spool]]:
    """Write an HDF5 file that becomes `path` when it is complete. Raises OSError if the disk does not take it."""
    with files.replacing(path) as temporary, Spool(temporary) as spool:
        with h5py.File(spool, "w") as file:
            yield file, spool
        spool.check()


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading and turn whatever a damaged one raises into a CodesError.

    The file closes with the last dataset that is still in use, not with the block.
    """
    if not path.is_file():
        raise CodesError(f"{path}: no such file; make one with: th encode IMAGES -o {path.name}")
    with path.open("rb"):  # a file that may not be read says so more clearly than HDF5 does
        pass
    try:
        yield h5py.File(path, "r")
    except (OSError, OverflowError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise CodesError(f"{path}: not a codes file, or a damaged one ({_line(error)}); encode again") from error


def _read_model(file: h5py.File) -> ModelRef:
    found = file.attrs.get("format"), file.attrs.get("format_version")
    if found[0] != FORMAT:
        raise ValueError("not a TransHash codes file")
    if found[1] != VERSION:
        raise ValueError(f"format version {found[1]}, this TransHash reads {VERSION}")
    if file.attrs["bit_order"] != BIT_ORDER:
        raise ValueError(f"bit order {file.attrs['bit_order']!r}")
    bits = check_bits(int(file.attrs["bits"]))
    return ModelRef(str(file.attrs["model"]), str(file.attrs["model_digest"]), bits)


def _write_header(file: h5py.File, model: ModelRef, root: bytes) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = VERSION
    file.attrs["bits"] = model.bits
    file.attrs["bit_order"] = BIT_ORDER
    file.attrs["model"] = model.name
    file.attrs["model_digest"] = model.digest
    file.attrs["root"] = np.frombuffer(root, dtype=np.uint8)


def _read_records(file: h5py.File, count: int) -> Records:
    paths = _table(file, "path")
    if len(paths) != count:
        raise ValueError(f"{count} codes and {len(paths)} paths")
    root = np.asarray(file.attrs["root"], dtype=np.uint8).tobytes()
    if "labels" not in file:
        return Records(paths, root)
    labels = _dataset(file, "labels", np.int32, ndim=(1, 2))
    names = _table(file, "label_name")
    if len(labels) != count:
        raise ValueError(f"{count} codes and {len(labels)} labels")
    if labels.ndim == 2 and not 1 <= labels.shape[1] <= MAX_LABELS:
        raise ValueError(f"{labels.shape[1]} labels a row")
    ids = labels[:]
    if count and not (ids.min() >= NO_LABEL and ids.max() < len(names)):
        raise ValueError("a label has no name")
    if ids.ndim == 2 and ((ids[:, 1:] != NO_LABEL) & (ids[:, :-1] == NO_LABEL)).any():
        raise ValueError("a label stands behind the last of its row")
    return Records(paths, root, ids, tuple(name.decode("utf-8") for name in names))


def _read_skipped(file: h5py.File) -> list[tuple[bytes, str]]:
    paths, reasons = _table(file, "skipped_path"), _table(file, "skipped_reason")
    return [(path, reason.decode("utf-8")) for path, reason in zip(paths, reasons, strict=True)]


def _write_skipped(file: h5py.File, skipped: Sequence[tuple[bytes, str]]) -> None:
    _write_table(file, "skipped_path", [path for path, _ in skipped])
    _write_table(file, "skipped_reason", [_utf8(reason) for _, reason in skipped])


def _write_records(file: h5py.File, records: Records) -> None:
    _growing_table(file, "path")
    for start in range(0, len(records), _STRINGS):
        _extend_table(file, "path", records.paths[start : start + _STRINGS])
    if records.labels is not None:
        _growing_labels(file, None if records.labels.ndim == 1 else records.labels.shape[1])
        _extend(file["labels"], records.labels)
        _write_table(file, "label_name", [_utf8(name) for name in records.label_names])


def _dataset(file: h5py.File, name: str, dtype: type[np.generic], *, ndim: tuple[int, ...]) -> Any:
    """Return a dataset that holds its own data, plainly: a stranger's file may link to others or need plugins."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name}: missing")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype != dtype or dataset.ndim not in ndim:
        axes = " or ".join(map(str, ndim))
        raise ValueError(f"{name}: not a dataset of {np.dtype(dtype)} with {axes} axes")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name}: its data lie in another file")
    pipeline = dataset.id.get_create_plist()
    filters = {pipeline.get_filter(place)[3].decode() for place in range(pipeline.get_nfilters())}
    if not filters <= _FILTERS:
        raise ValueError(f"{name}: stored with a filter other than {', '.join(sorted(_FILTERS))}")
    ratio = _MAX_DEFLATE if "deflate" in filters else 1
    if dataset.id.get_storage_size() * ratio < dataset.nbytes:
        raise ValueError(f"{name}: {dataset.nbytes} bytes that are not in the file")
    return dataset


def _table(file: h5py.File, name: str) -> StringTable:
    blob = _dataset(file, f"{name}s", np.uint8, ndim=(1,))
    offsets = _dataset(file, f"{name}_offsets", np.uint64, ndim=(1,))
    if len(offsets) == 0 or int(offsets[0]) != 0 or int(offsets[-1]) != len(blob):
        raise ValueError(f"{name}s: damaged offsets")
    return StringTable(blob, offsets)


def _write_table(file: h5py.File, name: str, strings: list[bytes]) -> None:
    table = StringTable.of(strings)
    file.create_dataset(f"{name}s", data=table.blob)
    file.create_dataset(f"{name}_offsets", data=table.offsets)


def _growing_table(file: h5py.File, name: str) -> None:
    _growing(file, f"{name}s", np.uint8, compressed=True)
    _growing(file, f"{name}_offsets", np.uint64, compressed=True)
    _extend(file[f"{name}_offsets"], np.zeros(1, dtype=np.uint64))


def _extend_table(file: h5py.File, name: str, strings: Sequence[bytes]) -> None:
    lengths = np.array([len(string) for string in strings], dtype=np.uint64)
    ends = np.cumsum(lengths, dtype=np.uint64) + np.uint64(len(file[f"{name}s"]))
    _extend(file[f"{name}s"], np.frombuffer(b"".join(strings), dtype=np.uint8))
    _extend(file[f"{name}_offsets"], ends)


def _growing_labels(file: h5py.File, width: int | None) -> None:
    """Create the dataset of labels: one a row, or up to `width`, of which the padding compresses well."""
    _growing(file, "labels", np.int32, width=width, compressed=width is not None)


def _growing(
    file: h5py.File, name: str, dtype: type[np.generic], *, width: int | None = None, compressed: bool = False
) -> None:
    """Create an empty dataset that can grow. Codes are noise to a compressor; paths shrink to a tenth."""
    columns = () if width is None else (width,)
    file.create_dataset(
        name,
        shape=(0, *columns),
        maxshape=(None, *columns),
        chunks=(_CHUNK // np.dtype(dtype).itemsize // (width or 1), *columns),
        dtype=dtype,
        fletcher32=True,
        shuffle=compressed,
        compression=1 if compressed else None,
    )


def _extend(dataset: Any, rows: NDArray[np.generic]) -> None:
    if len(rows):
        dataset.resize(len(dataset) + len(rows), axis=0)
        dataset[-len(rows) :] = rows


def _join(root: bytes, path: bytes) -> str:
    return os.fsdecode(os.path.join(root, path))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
