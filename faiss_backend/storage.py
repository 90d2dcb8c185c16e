"""FAISS index files, read as if a stranger had made them: FAISS itself has no checksum and trusts what it reads."""

import threading
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from transhash.errors import BackendError

FILE = "index.faiss"

_lock = threading.Lock()  # the byte limit is a global of FAISS


def write(index: Any, folder: Path) -> None:
    """Write an index to `folder`."""
    with (folder / FILE).open("wb") as file:
        faiss.write_index_binary(index, faiss.PyCallbackIOWriter(file.write))


def read(folder: Path) -> Any:
    """Read a flat or IVF index from `folder`. Raises BackendError for anything else, or if it is damaged."""
    path = folder / FILE
    try:
        index = _read_limited(path)
    except (OSError, RuntimeError, MemoryError) as error:
        line = " ".join(str(error).split())[:200]
        raise BackendError(f"{path}: no FAISS index, or a damaged one ({line}); build it again") from None
    problem = _problem(index)
    if problem:
        raise BackendError(f"{path}: {problem}; build it again")
    return index


def _read_limited(path: Path) -> Any:
    """Read with a limit on what FAISS may allocate for one vector: no more than the file holds."""
    with _lock, path.open("rb") as file:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(max(path.stat().st_size, 1 << 16))
        try:
            return faiss.read_index_binary(faiss.PyCallbackIOReader(file.read))
        finally:
            faiss.set_deserialization_vector_byte_limit(before)


def _problem(index: Any) -> str | None:
    """Say what is wrong with an index that FAISS has opened, or None."""
    if not (8 <= index.d <= 1024 and index.d % 8 == 0 and index.code_size == index.d // 8):
        return f"codes of {index.d} bits"
    if type(index) is faiss.IndexBinaryFlat:
        return _flat_problem(index)
    if type(index) is not faiss.IndexBinaryIVF:
        return f"an index of type {type(index).__name__}"
    quantizer = faiss.downcast_IndexBinary(index.quantizer)
    lists = faiss.downcast_InvertedLists(index.invlists)
    if not index.is_trained or index.nlist < 1 or not 1 <= index.nprobe <= index.nlist:
        return "untrained"
    if type(quantizer) is not faiss.IndexBinaryFlat or _flat_problem(quantizer):
        return "centroids that are not flat"
    if (quantizer.d, quantizer.ntotal) != (index.d, index.nlist):
        return "centroids missing"
    if not isinstance(lists, faiss.ArrayInvertedLists) or lists.nlist != index.nlist:
        return "inverted lists missing"
    if lists.code_size != index.code_size:
        return "inverted lists of another width"
    return _lists_problem(lists, int(index.ntotal))


def _flat_problem(index: Any) -> str | None:
    return None if index.xb.size() == index.ntotal * index.code_size else "codes missing"


def _lists_problem(lists: Any, count: int) -> str | None:
    """Every position from 0 to count must stand in the lists exactly once."""
    sizes = [lists.list_size(place) for place in range(lists.nlist)]
    if sum(sizes) != count:
        return f"{sum(sizes)} codes in lists of {count}"
    seen = np.zeros(count, dtype=bool)
    for place, size in enumerate(sizes):
        if size:
            ids = faiss.rev_swig_ptr(lists.get_ids(place), size)
            if ids.min() < 0 or ids.max() >= count:
                return "an id outside the index"
            seen[ids] = True
    return None if seen.all() else "an id twice"
