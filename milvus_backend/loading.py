"""Load rows into a collection, in batches that can be sent repeatedly.

A row's id follows from its position in the load, and rows are upserted, so sending a batch again changes nothing. An
interrupted load resumes where counting shows that rows are missing.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transhash.codes import Codes, CodesFile
from transhash.codes.texts import label as stored_label
from transhash.codes.texts import text as stored_text
from transhash.errors import BackendError, CodesError
from transhash.system.progress import Progress

from . import expressions
from .server import PAGE, Server

MAX_TEXT = 65_535  # bytes of a path or label, at most
_ROUNDS = 3  # attempts to send the missing rows
_BYTES = 1 << 23  # approximate size of a request


def texts(codes: Codes) -> list[str]:
    """Return the absolute paths as they are stored. Raises CodesError for a path that is too long."""
    return [_checked(stored_text(path)) for path in codes.records.full_paths()]


def labels(codes: Codes) -> list[list[str]]:
    """Return the labels of every row as they are stored. Raises CodesError for a label that is too long."""
    return [[_checked(stored_label(name)) for name in codes.records.names(row)] for row in range(len(codes))]


def load(
    server: Server, file: CodesFile, first: int, report: Progress, chosen: NDArray[np.bool_] | None = None
) -> None:
    """Load the rows of a codes file, or those where `chosen` (n,) is true, with ids from `first` on.

    Rows that are already there are not sent again. Raises BackendError if rows are still missing at the end.
    """
    total = len(file) if chosen is None else int(chosen.sum())
    done = 0
    for _ in range(_ROUNDS):
        absent = list(_absent(server, first, first + total))
        done = total - sum(stop - start for start, stop in absent)
        report(done, total)
        if not absent:
            return
        for rows in _rows(file, first, chosen, absent):
            for request in _requests(rows):
                server.call("upsert", data=request)
                done += len(request)
                report(done, total)
    if missing := total - server.count(expressions.between(first, first + total)):
        raise BackendError(f"{server.location}: {missing} of {total} rows did not arrive; run the command again")


def _absent(server: Server, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of ids in which rows are missing, each of a few batches, or longer if it is empty."""
    there = server.count(expressions.between(start, stop)) if start < stop else 0
    if there == stop - start:
        return
    if there == 0 or stop - start <= PAGE:
        yield start, stop
        return
    middle = (start + stop) // 2
    yield from _absent(server, start, middle)
    yield from _absent(server, middle, stop)


def _rows(
    file: CodesFile, first: int, chosen: NDArray[np.bool_] | None, absent: list[tuple[int, int]]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows with ids in the ranges `absent`, in batches."""
    places = None if chosen is None else np.flatnonzero(chosen)
    for start, stop in absent:
        for low in range(start, stop, PAGE):
            ids = range(low, min(low + PAGE, stop))
            if places is None:
                block = file.read(ids.start - first, ids.stop - first, embeddings=False)
            else:
                block_places = places[ids.start - first : ids.stop - first]
                block = file.read(int(block_places[0]), int(block_places[-1]) + 1, embeddings=False)
                block = block.take(_mask(block_places))
            yield [
                {"id": id, "code": code.tobytes(), "path": path, "labels": names}
                for id, code, path, names in zip(ids, block.packed, texts(block), labels(block), strict=True)
            ]


def _requests(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a batch, in several requests if their texts are long."""
    size = sum(len(row["path"]) + sum(map(len, row["labels"])) for row in rows)
    step = -(-len(rows) // max(1, -(-size // _BYTES)))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _checked(text: str) -> str:
    if len(text) * 4 > MAX_TEXT and len(text.encode()) > MAX_TEXT:
        raise CodesError(f"{text[:80]}…: {len(text.encode())} bytes; Milvus stores at most {MAX_TEXT}; shorten it")
    return text


def _mask(places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask over the rows from the first of `places` to the last."""
    mask = np.zeros(int(places[-1] - places[0]) + 1, np.bool_)
    mask[places - places[0]] = True
    return mask
