"""Open untrusted index files: FAISS itself checks neither checksums nor most of the values it reads."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from transhash.errors import BackendError, one_line
from transhash.system.files import display

from . import library as faiss
from .kind import FILE, Kind

_lock = threading.Lock()  # the byte limit is global in FAISS


def read(folder: Path, kinds: Sequence[type[Kind]], mmap: bool = False, trusted: bool = False) -> Kind:
    """Read or map an index of one of the types `kinds`.

    If it is `trusted`, because this process has written it, the contents of a mapped one are not read to check them.

    Raises BackendError if it is not one, or damaged.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            found = _type(magic, folder, kinds)
            if found is None:
                raise ValueError(f"unknown type {magic!r}")
            size = path.stat().st_size
            with _limited(size) if found.needs_faiss(size, mmap) else nullcontext():
                return found.map(path, trusted) if mmap else found.read(file, folder)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        problem = f"not a FAISS index, or damaged ({one_line(error)})"
        raise BackendError(f"{display(path)}: {problem}; build the index again") from None


def kind(folder: Path, kinds: Sequence[type[Kind]]) -> type[Kind]:
    """Return the type of a saved index. Raises BackendError if it is not one of `kinds`."""
    path = folder / FILE
    with path.open("rb") as file:
        found = _type(file.read(4), folder, kinds)
    if found is None:
        raise BackendError(f"{display(path)}: not a FAISS index, or damaged; build the index again")
    return found


def _type(magic: bytes, folder: Path, kinds: Sequence[type[Kind]]) -> type[Kind] | None:
    """Return the type of an index; of several with the same file of FAISS, that with the most files beside it."""
    able = (kind for kind in kinds if kind.magic == magic and all((folder / name).exists() for name in kind.beside))
    return max(able, key=lambda kind: len(kind.beside), default=None)


@contextmanager
def _limited(size: int) -> Iterator[None]:
    """Limit each allocation of FAISS's reader to the size of the file."""
    with _lock:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(max(size, 1 << 16))
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before)
