"""Compare the rows of a collection with new ones: which are replaced, and which stay."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..codes import UNKNOWN, Codes, Records, keys
from ..errors import MismatchError
from .rows import Changes


def with_paths_of(records: Records, new: Records) -> NDArray[np.bool_]:
    """Return the rows of `records` whose paths are among those of `new`, (n,) bool."""
    paths = set(new.full_paths())
    return np.fromiter((path in paths for path in records.full_paths()), np.bool_, len(records))


def difference(here: Codes, wanted: Codes) -> tuple[NDArray[np.bool_], Codes, Changes]:
    """Compare rows by path, code and labels.

    Returns the rows of `here` that stay, (n,) bool, the rows of `wanted` that are new, and their numbers.

    Raises MismatchError if `wanted` is of images in memory, which are named by position, and no row of `here` is.
    """
    if len(here) and _positions(wanted.records) and not any(path.isdigit() for path in here.records.full_paths()):
        raise MismatchError(
            "the codes are of images in memory, named by position, and the index has other names: sync would "
            "remove every row of the index; name the images (transhash.Records), or call add"
        )
    here_keys, wanted_keys = keys.of(here), keys.of(wanted)
    keep, new = np.isin(here_keys, wanted_keys), wanted.take(~np.isin(wanted_keys, here_keys))
    gone = here.records.take(~keep)
    changed = len(set(gone.full_paths()) & set(new.records.full_paths()))
    return keep, new, Changes(len(new) - changed, len(gone) - changed, changed)


def with_stats_of(here: Codes, wanted: Codes) -> Records:
    """Return the records of `here` with the sizes and times that equal rows of `wanted` have.

    The records themselves are returned if none differ.
    """
    here_keys, wanted_keys = keys.of(here), keys.of(wanted)
    order = np.argsort(wanted_keys)
    place = order[np.searchsorted(wanted_keys, here_keys, sorter=order).clip(max=len(wanted_keys) - 1)]
    equal = wanted_keys[place] == here_keys
    columns = []
    for old, new in ((here.records.sizes, wanted.records.sizes), (here.records.mtimes, wanted.records.mtimes)):
        old, new = (_known(values, count) for values, count in ((old, len(here)), (new, len(wanted))))
        columns.append((old, np.where(equal, new[place], old)))
    if all(np.array_equal(old, new) for old, new in columns):
        return here.records
    return replace(here.records, sizes=columns[0][1], mtimes=columns[1][1])


def _positions(records: Records) -> bool:
    """Return whether the rows are named as `encode` names images in memory: by number, and without a file."""
    nameless = records.sizes is None or bool((records.sizes == UNKNOWN).all())
    return nameless and all(path.isdigit() for path in records.full_paths())


def _known(values: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    return np.full(count, UNKNOWN, np.int64) if values is None else values
