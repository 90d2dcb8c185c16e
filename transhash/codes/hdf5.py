"""HDF5 files: the only module that uses h5py. Growing datasets, and the checks that untrusted files need."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import CodesError, one_line
from ..system import files
from .deferred_errors import DeferredErrorFile
from .strings import StringTable

File = Any  # h5py.File, which has no types

_CHUNK = 1 << 15  # bytes in a chunk
_CACHE = 1 << 18  # bytes of chunks kept of a dataset; HDF5's own 8 MiB would be those of every column
_FILTERS = {"deflate", "fletcher32", "shuffle"}
_MAX_DEFLATE = 1032  # deflate expands a byte to at most this many
_VERSION = ("v110", "v110")  # versions of HDF5 that can read the file; 1.10 is the first with checksummed metadata
_HOW = "transhash.encode, th encode"
_NOISE = re.compile(r"Unable to .* \((.*)\)")  # what surrounds the reason in messages of HDF5
DAMAGE = (OSError, OverflowError, RuntimeError, ValueError, TypeError, KeyError, MemoryError)


@contextmanager
def created(path: Path, temporary: Path | None = None) -> Iterator[tuple[File, DeferredErrorFile]]:
    """Write an HDF5 file that becomes `path` when it is complete; until then it is in `temporary` or beside `path`.

    Raises OSError if it cannot be written.
    """
    with files.replacing(path, temporary) as part, DeferredErrorFile(part) as spool:
        with h5py.File(spool, "w", libver=_VERSION, rdcc_nbytes=_CACHE) as file:
            yield file, spool
        spool.check()


def check_file(path: Path) -> None:
    """Raise CodesError if there is no such file, or OSError if it cannot be read: HDF5's own messages are unclear."""
    if path.is_dir():
        raise CodesError(f"{path}: a folder, not a codes file; encode its images first: {_HOW}")
    if not path.is_file():
        raise CodesError(f"{path}: no such file; to make one, encode images: {_HOW}")
    with path.open("rb"):
        pass


@contextmanager
def opened(path: Path) -> Iterator[File]:
    """Open a file for reading, and convert whatever a damaged file raises to CodesError.

    The file closes with the last dataset that is still in use, not with the block.
    """
    if not h5py.is_hdf5(path):
        raise CodesError(f"{path}: not a codes file, or a damaged one; encode the images first: {_HOW}")
    try:
        yield h5py.File(path, "r", rdcc_nbytes=_CACHE, locking=False)  # a codes file never changes
    except DAMAGE as error:
        raise CodesError(f"{path}: not a codes file, or a damaged one ({_reason(error)}); encode again") from error


def _reason(error: BaseException) -> str:
    """Return the reason of an HDF5 error, without the operation that HDF5 names before it."""
    found = _NOISE.fullmatch(one_line(error))
    return found[1].partition(":")[0] if found else one_line(error)


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins with the signature of HDF5; nothing else is read."""
    return path.is_file() and bool(h5py.is_hdf5(path))


def dataset(file: File, name: str, dtype: type[np.generic], *, ndim: tuple[int, ...], deflated: bool = True) -> Any:
    """Return a dataset whose data are in the file and need no filter plugins.

    Raises ValueError for any other dataset, or for a compressed one if `deflated` is false: its size in memory would
    not be bounded by the size of the file.
    """
    found = own_dataset(file, name)
    if found.dtype != dtype or found.ndim not in ndim:
        axes = " or ".join(map(str, ndim))
        raise ValueError(f"{name}: not a dataset of {np.dtype(dtype)} with {axes} axes")
    pipeline = found.id.get_create_plist()
    filters = {pipeline.get_filter(place)[3].decode() for place in range(pipeline.get_nfilters())}
    if "deflate" in filters and not deflated:
        raise ValueError(f"{name}: compressed")
    if not filters <= _FILTERS:
        raise ValueError(f"{name}: stored with a filter other than {', '.join(sorted(_FILTERS))}")
    ratio = _MAX_DEFLATE if "deflate" in filters else 1
    if found.id.get_storage_size() * ratio < found.nbytes:
        raise ValueError(f"{name}: {found.nbytes} bytes that are not in the file")
    return found


def own_dataset(file: File, name: str) -> Any:
    """Return a dataset whose data are in this file; links could lead to any other file on the machine.

    Raises ValueError if it is missing, not a dataset, or kept elsewhere.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise ValueError(f"{name}: missing")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name}: a link")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise ValueError(f"{name}: not a dataset")
    if found.external or found.is_virtual:
        raise ValueError(f"{name}: its data are in another file")
    return found


def table(file: File, name: str) -> StringTable:
    """Return the strings `{name}s`, which are read on demand. Raises ValueError if their offsets are wrong."""
    blob = dataset(file, f"{name}s", np.uint8, ndim=(1,))
    offsets = dataset(file, f"{name}_offsets", np.uint64, ndim=(1,))
    if len(offsets) == 0 or int(offsets[0]) != 0 or int(offsets[-1]) != len(blob):
        raise ValueError(f"{name}s: damaged offsets")
    return StringTable(blob, offsets, f"{file.filename}: {name}s")


class Column:
    """A dataset that grows by rows."""

    def __init__(
        self, file: File, name: str, dtype: type[np.generic], width: int | None = None, *, deflated: bool = True
    ) -> None:
        """Create an empty dataset, (0,) or (0, width). Codes do not compress; paths do."""
        columns = () if width is None else (width,)
        self._dataset = file.create_dataset(
            name,
            shape=(0, *columns),
            maxshape=(None, *columns),
            chunks=(max(1, _CHUNK // np.dtype(dtype).itemsize // (width or 1)), *columns),
            dtype=dtype,
            fletcher32=True,
            shuffle=deflated,
            compression=1 if deflated else None,
        )
        self._count = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._count

    def extend(self, rows: NDArray[Any]) -> None:
        """Append rows."""
        if len(rows):
            start, self._count = self._count, self._count + len(rows)
            self._dataset.resize(self._count, axis=0)
            self._dataset[start:] = rows


class Strings:
    """A table of strings that grows."""

    def __init__(self, file: File, name: str) -> None:
        """Create it empty."""
        self._blob = Column(file, f"{name}s", np.uint8)
        self._offsets = Column(file, f"{name}_offsets", np.uint64)
        self._offsets.extend(np.zeros(1, dtype=np.uint64))

    def extend(self, strings: Sequence[bytes]) -> None:
        """Append strings, each of at most 65,536 bytes."""
        laid = StringTable.of(strings)
        ends = laid.offsets[1:] + np.uint64(len(self._blob))
        self._blob.extend(laid.blob)
        self._offsets.extend(ends)
