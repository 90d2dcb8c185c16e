"""The inverted lists of an index of FAISS for a GPU to search: FAISS itself has no binary IVF for GPUs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import library as faiss


def inverted_lists(index: Any) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the centroids of an `IndexBinaryIVF`, (nlist, bits/8) uint8, and the list of each code, (n,) int32."""
    centroids = faiss.downcast_IndexBinary(index.quantizer).reconstruct_n(0, index.nlist)
    lists = np.empty(index.ntotal, np.int32)
    for place in range(index.nlist):
        size = index.invlists.list_size(place)
        if size:
            lists[faiss.rev_swig_ptr(index.invlists.get_ids(place), size)] = place
    return centroids, lists
