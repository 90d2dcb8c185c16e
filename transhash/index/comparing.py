"""Compare the rows of a collection with new ones: which are replaced, and which stay."""

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes, Records, keys
from .rows import Changes


def with_paths_of(records: Records, new: Records) -> NDArray[np.bool_]:
    """Return the rows of `records` whose paths are among those of `new`, (n,) bool."""
    paths = set(new.full_paths())
    return np.fromiter((path in paths for path in records.full_paths()), np.bool_, len(records))


def difference(here: Codes, wanted: Codes) -> tuple[NDArray[np.bool_], Codes, Changes]:
    """Compare rows by path, code and labels.

    Returns the rows of `here` that stay, (n,) bool, the rows of `wanted` that are new, and their numbers.
    """
    own, others = keys.of(here), keys.of(wanted)
    keep, new = np.isin(own, others), wanted.take(~np.isin(others, own))
    gone = here.records.take(~keep)
    changed = len(set(gone.full_paths()) & set(new.records.full_paths()))
    return keep, new, Changes(len(new) - changed, len(gone) - changed, changed)
