"""Browse an index without a query: images in order or at random, labels, folders."""

import os
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..index.filters import Filter
from .snapshot import Snapshot

_ROUNDS = 4

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Browsed:
    """A page of images: their ids, the total number, and where the next page starts, if there is one."""

    ids: Ids
    total: int
    following: int | None


def browse(snapshot: Snapshot, where: Filter | None, seed: int | None, limit: int, start: int = 0) -> Browsed:
    """Return `limit` images that pass a filter, from place `start` on: by id or, with a seed, in a shuffled order.

    Raises SelectionError if the filter matches nothing.
    """
    mask = snapshot.mask(where)
    total = len(snapshot) if mask is None else int(mask.sum())
    stop = min(start + limit, total)
    places = np.arange(start, stop)
    if seed is not None:
        places = shuffled(places, total, seed)
    rows = places if mask is None else np.flatnonzero(mask)[places]
    return Browsed(snapshot.local.ids.of(rows.astype(np.int64)), total, stop if stop < total else None)


def shuffled(places: Ids, count: int, seed: int) -> Ids:
    """Map places in a shuffled order of `count` items to items: equal seeds give the same permutation.

    A Feistel network permutes the range up to the next power of four; values beyond the end are permuted again.
    """
    half = max(1, (max(1, count - 1).bit_length() + 1) // 2)
    keys = np.random.default_rng(seed).integers(1, 1 << 31, _ROUNDS).tolist()
    found = places.astype(np.int64)
    outside = np.ones(len(found), np.bool_)
    while outside.any():
        found[outside] = _permuted(found[outside], half, keys)
        outside = found >= count
    return found


def _permuted(values: Ids, half: int, keys: list[int]) -> Ids:
    low = (1 << half) - 1
    left, right = values >> half, values & low
    for key in keys:
        mixed = ((right + key) * 0x9E3779B1) & 0xFFFFFFFF
        left, right = right, left ^ ((mixed ^ (mixed >> 15)) & low)
    return (left << half) | right


def labels(snapshot: Snapshot, prefix: str, limit: int) -> tuple[list[tuple[str, int]], int]:
    """Return labels that start with `prefix`, ignoring case, with their image counts; and how many match."""
    folded = prefix.casefold()
    found = [label for label in snapshot.label_counts if label[0].casefold().startswith(folded)]
    return found[:limit], len(found)


def folders(snapshot: Snapshot, prefix: str, limit: int) -> tuple[list[tuple[str, int]], int]:
    """Return folders of images whose path starts with `prefix`, one level deeper than its last slash.

    Each comes with the number of images below it. Also return how many folders there are.
    """
    start = os.fsencode(prefix)
    depth = start.count(b"/") + 1
    known = snapshot.folder_counts
    place = bisect_left(known, (start, 0))
    found = []
    while place < len(known) and known[place][0].startswith(start):
        if known[place][0].count(b"/") == depth:
            found.append((os.fsdecode(known[place][0]), known[place][1]))
        place += 1
    return found[:limit], len(found)
