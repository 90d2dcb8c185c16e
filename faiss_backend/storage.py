"""FAISS index files, read as if a stranger had made them: FAISS itself has no checksum and trusts what it reads."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss

from transhash.errors import BackendError, one_line

from .kind import Kind
from .layout import IndexFileCursor

FILE = "index.faiss"

_lock = threading.Lock()  # the byte limit is a global of FAISS


def write(index: Any, folder: Path) -> None:
    """Write an index to `folder`."""
    with (folder / FILE).open("wb") as file:
        faiss.write_index_binary(index, faiss.PyCallbackIOWriter(file.write))


def read(folder: Path, kinds: Sequence[type[Kind]], mmap: bool = False) -> Kind:
    """Read, or map, an index of one of some types. Raises BackendError for anything else, or if it is damaged."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            found = next((kind for kind in kinds if kind.magic == magic), None)
            if found is None:
                raise ValueError(f"it begins with {magic!r}")
            with _limited(path.stat().st_size):
                return found.map(path) if mmap else found.read(IndexFileCursor(file))
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise BackendError(f"{path}: no FAISS index, or a damaged one ({one_line(error)}); build it again") from None


@contextmanager
def _limited(size: int) -> Iterator[None]:
    """Limit what FAISS may allocate for one vector: no more than the file holds."""
    with _lock:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(max(size, 1 << 16))
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before)
