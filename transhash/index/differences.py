"""Compare the rows of an index with new ones. Memory use does not grow with their number, except for masks.

Both sides are divided by the digests of their paths; rows with the same path are then in the same part.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import NO_LABEL, UNKNOWN, Codes, Records
from ..codes.records import label_columns, width_of
from ..errors import MismatchError
from ..system.spill import Spill

_PATH = np.dtype("S16")  # digests of paths
_LABELS = 8  # bytes of the digest of labels
RESTATED = np.dtype([("row", "<i8"), ("size", "<i8"), ("mtime", "<i8")])

Blocks = Iterable[tuple[int, Codes]]
"""The first row and the codes of consecutive blocks."""


class Restated(Spill):
    """Rows that stay, but whose images have other sizes and times now."""

    def __init__(self, count: int) -> None:
        """Prepare for an index of `count` rows."""
        super().__init__(RESTATED, count, max(1, count))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the rows, ascending, in parts with the fields ``row``, ``size`` and ``mtime``."""
        for rows in super().__iter__():
            yield np.sort(rows, order="row")


@dataclass(frozen=True, eq=False)
class Difference:
    """How the rows of an index differ from wanted ones.

    Attributes:
        gone: rows of the index that are not wanted, ascending, (g,) int64.
        new: wanted rows that are not in the index, (m,) bool.
        changed: number of paths that are among both.
    """

    gone: NDArray[np.int64]
    new: NDArray[np.bool_]
    changed: int


def path_digests(records: Records) -> NDArray[np.bytes_]:
    """Return the digest of the full path of every row, (n,)."""
    digests = b"".join(blake2b(path, digest_size=_PATH.itemsize).digest() for path in records.full_paths())
    return np.frombuffer(digests, _PATH)


def same_paths(
    here: Iterable[tuple[int, Records]], count: int, parts: Sequence[Iterable[Records]], total: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows of an index have the path of a new row, and which new rows have that of one of a later part.

    Args:
        here: the first row and the records of blocks of rows of the index.
        count: number of rows of the index.
        parts: the records of new rows, in parts.
        total: number of new rows.

    Returns masks (count,) and (total,).
    """
    entry = np.dtype([("path", _PATH), ("number", "<i8"), ("part", "<i8")])
    found, again, most = np.zeros(count, np.bool_), np.zeros(total, np.bool_), max(count, total)
    with Spill(entry, most, 1 << 64) as stored, Spill(entry, most, 1 << 64) as wanted:
        for start, block in here:
            _collect_paths(stored, entry, block, start, 0)
        start = 0
        for place, part in enumerate(parts):
            for block in part:
                _collect_paths(wanted, entry, block, start, place)
                start += len(block)
        for mine, theirs in zip(stored, wanted, strict=True):
            found[mine["number"][np.isin(mine["path"], theirs["path"])]] = True
            paths, inverse = np.unique(theirs["path"], return_inverse=True)
            last = np.zeros(len(paths), np.int64)
            np.maximum.at(last, inverse, theirs["part"])
            again[theirs["number"][theirs["part"] < last[inverse]]] = True
    return found, again


def _collect_paths(spill: Spill, entry: np.dtype[Any], records: Records, start: int, part: int) -> None:
    entries, paths = np.empty(len(records), entry), path_digests(records)
    entries["path"], entries["part"] = paths, part
    entries["number"] = np.arange(start, start + len(records))
    spill.append(entries, paths.view("<u8")[::2])


def difference(
    here: Blocks, count: int, wanted: Blocks, wanted_count: int, width: int, restated: Restated
) -> Difference:
    """Compare the rows of an index with wanted ones by path, code and labels.

    Args:
        here: the rows of the index.
        count: their number.
        wanted: the wanted rows.
        wanted_count: their number.
        width: bytes of a code.
        restated: gets the rows that stay and have other sizes or times than the wanted ones.

    Raises MismatchError if the wanted rows are of images in memory, which are named by position, and no row of the
    index is.
    """
    entry = _entry(width)
    gone, new, changed = [np.empty(0, np.int64)], np.zeros(wanted_count, np.bool_), 0
    most = max(count, wanted_count)  # so that both sides have the same ranges
    with Spill(entry, most, 1 << 64) as others, Spill(entry, most, 1 << 64) as own:
        positions, numbered = True, False
        for start, codes in wanted:
            _collect(others, entry, start, codes)
            if positions:
                positions = _has_no_files(codes.records) and all(map(bytes.isdigit, codes.records.full_paths()))
        for start, codes in here:
            _collect(own, entry, start, codes)
            if positions and not numbered:
                numbered = any(map(bytes.isdigit, codes.records.full_paths()))
        if count and positions and not numbered:
            raise MismatchError(
                "the codes are of images in memory, named by position, and the index has other names: sync would "
                "remove every row of the index; name the images (transhash.Records), or call add"
            )
        for mine, theirs in zip(own, others, strict=True):
            stays, known = np.isin(mine["row"], theirs["row"]), np.isin(theirs["row"], mine["row"])
            gone.append(mine["number"][~stays])
            new[theirs["number"][~known]] = True
            changed += len(np.intersect1d(mine["row"][~stays].astype(_PATH), theirs["row"][~known].astype(_PATH)))
            _append_restated(mine[stays], theirs, restated)
    return Difference(np.sort(np.concatenate(gone)), new, changed)


def _entry(width: int) -> np.dtype[Any]:
    row = f"S{_PATH.itemsize + width + _LABELS}"  # path, code, labels
    return np.dtype([("row", row), ("number", "<i8"), ("size", "<i8"), ("mtime", "<i8")])


def _collect(spill: Spill, entry: np.dtype[Any], start: int, codes: Codes) -> None:
    records, count = codes.records, len(codes)
    row = np.zeros((count, entry["row"].itemsize), np.uint8)
    paths = path_digests(records)
    row[:, : _PATH.itemsize] = paths.view(np.uint8).reshape(count, _PATH.itemsize)
    row[:, _PATH.itemsize : -_LABELS] = codes.packed
    row[:, -_LABELS:] = _label_digests(records)
    entries = np.empty(count, entry)
    entries["row"] = row.view(entry["row"])[:, 0]
    entries["number"] = np.arange(start, start + count)
    entries["size"] = UNKNOWN if records.sizes is None else records.sizes
    entries["mtime"] = UNKNOWN if records.mtimes is None else records.mtimes
    spill.append(entries, paths.view("<u8")[::2])


def _has_no_files(records: Records) -> bool:
    """Return whether no row has a file."""
    return records.sizes is None or bool((np.asarray(records.sizes) == UNKNOWN).all())


def _label_digests(records: Records) -> NDArray[np.uint8]:
    """Return the digest of the labels of every row, (n, 8) uint8."""
    if not width_of(records.labels):
        return np.zeros((len(records), _LABELS), np.uint8)
    assert records.labels is not None
    names = [name.encode("utf-8", "backslashreplace") for name in records.label_names]
    columns = label_columns(records.labels)
    if columns.shape[1] == 1:  # many times faster than rows
        distinct, places = np.unique(columns, return_inverse=True)
        distinct = distinct[:, None]
    else:
        distinct, places = np.unique(columns, axis=0, return_inverse=True)
    digests = np.zeros((len(distinct), _LABELS), np.uint8)
    for digest, row in zip(digests, distinct.tolist(), strict=True):
        row_names = [names[place] for place in row if place != NO_LABEL]
        if row_names:
            text = b"".join(len(name).to_bytes(4, "big") + name for name in row_names)
            digest[:] = np.frombuffer(blake2b(text, digest_size=_LABELS).digest(), np.uint8)
    return digests[places.reshape(-1)]


def _append_restated(mine: NDArray[Any], theirs: NDArray[Any], restated: Restated) -> None:
    """Append the rows whose sizes or times differ from those of equal rows of the other side."""
    order = np.argsort(theirs["row"], kind="stable")
    equal = theirs[order[np.searchsorted(theirs["row"], mine["row"], sorter=order)]] if len(mine) else theirs[:0]
    differ = (mine["size"] != equal["size"]) | (mine["mtime"] != equal["mtime"])
    rows = np.empty(int(differ.sum()), RESTATED)
    rows["row"] = mine["number"][differ]
    rows["size"], rows["mtime"] = equal["size"][differ], equal["mtime"][differ]
    if len(rows):
        restated.append(rows, rows["row"])
