"""Add, remove and synchronize rows. An interrupted change is completed when it is run again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transhash.codes import Codes, CodesFile, keys
from transhash.codes import texts as stored
from transhash.codes.models import check_same_model
from transhash.errors import CodesError
from transhash.index import kinds, selection
from transhash.index.rows import Added, Changes
from transhash.system.files import display
from transhash.system.progress import Progress

from . import expressions, loading
from .contents import Load
from .ledger import Ledger
from .server import PAGE, Server

_KEY = 16  # bytes of a row's key; a collision is not expected


@contextmanager
def opened(path: Path) -> Iterator[CodesFile]:
    """Open a codes file that a load can be resumed from. Raises CodesError, and MismatchError if it has no rows."""
    with kinds.open_rows(path) as file:
        if not file.header.digest:
            raise CodesError(
                f"{path}: format version 0 has no checksum to identify it; rewrite it: th codes merge {path} -o NEW"
            )
        yield file


def finish(ledger: Ledger, file: CodesFile, report: Progress) -> int:
    """Send the missing rows of the pending load of a codes file, and return how many rows it replaced."""
    server, pending = ledger.server, ledger.state.pending
    assert pending is not None
    loading.load(server, file, pending.first, report)
    replaced = 0
    if pending.kind == "replace":
        for _, block in file.blocks(embeddings=False):
            old = expressions.all_of([expressions.one_of("path", loading.texts(block)), f"id < {pending.first}"])
            replaced += delete(server, old)
    ledger.end()
    return replaced


def add(ledger: Ledger, path: Path, replace: bool, report: Progress) -> Added:
    """Add the rows of a codes file, unless they have been added already."""
    with opened(path) as file:
        check_same_model(file.header.model, ledger.contents.model, f"{path}", "the collection")
        ledger.refresh()
        pending, digest = ledger.state.pending, file.header.digest
        if ledger.state.holds(digest) and not replace:
            return Added(0, 0)
        kind = "replace" if replace else "add"
        if pending is None or (pending.kind, pending.digest) != (kind, digest):
            ledger.check_idle()
            if not replace:
                _check_new(ledger.server, file, path)
            ledger.begin(Load(kind, path.name, digest, ledger.state.next_id, len(file)))
        return Added(len(file), finish(ledger, file, report))


def remove(ledger: Ledger, condition: str) -> int:
    """Remove the rows that satisfy a condition, a few thousand at a time."""
    ledger.refresh()
    ledger.check_idle()
    gone, there = ledger.server.count(condition), ledger.server.count(expressions.EVERYTHING)
    if gone == there:
        raise selection.none_left(there, "drop it in Milvus")
    ledger.write(ledger.state.without())
    return delete(ledger.server, condition)


def sync(ledger: Ledger, path: Path, report: Progress) -> Changes:
    """Make the collection hold exactly the rows of a codes file: add the new rows, then remove the old ones.

    Takes a few dozen bytes of memory per row, on both sides of the comparison.
    """
    with opened(path) as file:
        check_same_model(file.header.model, ledger.contents.model, "codes", "the collection")
        ledger.refresh()
        server = ledger.server
        keys = np.concatenate([_keys(block) for _, block in file.blocks(embeddings=False)])
        order = np.argsort(keys)
        absent = np.ones(len(keys), np.bool_)
        gone, gone_paths = [np.empty(0, np.int64)], [np.empty(0, keys.dtype)]
        for page in server.pages(expressions.EVERYTHING, ["id", "code", "path", "labels"]):
            page_keys = np.array([_key(row["path"], row["code"][0], row["labels"]) for row in page], keys.dtype)
            place = order[np.searchsorted(keys, page_keys, sorter=order).clip(max=len(keys) - 1)]
            stays = (keys[place] == page_keys) & absent[place]
            absent[place[stays]] = False
            gone.append(np.array([row["id"] for row in page], np.int64)[~stays])
            gone_paths.append(_digests([row["path"] for row, stay in zip(page, stays, strict=True) if not stay]))
        ledger.begin(Load("sync", path.name, file.header.digest, ledger.state.next_id, int(absent.sum())))
        assert ledger.state.pending is not None
        loading.load(server, file, ledger.state.pending.first, report, absent)
        old = np.concatenate(gone)
        for start in range(0, len(old), PAGE):
            server.call("delete", ids=old[start : start + PAGE].tolist())
        ledger.end()
        changed = int(np.isin(_new_paths(file, absent), np.concatenate(gone_paths)).sum())
    return Changes(int(absent.sum()) - changed, len(old) - changed, changed)


def delete(server: Server, condition: str) -> int:
    """Remove the rows that satisfy a condition; return how many."""
    count = 0
    for page in server.pages(condition, ["id"]):
        server.call("delete", ids=[row["id"] for row in page])
        count += len(page)
    return count


def _check_new(server: Server, file: CodesFile, name: Path) -> None:
    """Raise SelectionError if a path of a codes file is already in the collection."""
    there: list[str] = []
    for _, block in file.blocks(embeddings=False):
        found = server.query(expressions.one_of("path", loading.texts(block)), ["path"])
        there += [row["path"] for row in found]
    if there:
        raise selection.already_there(f"{name}: {display(stored.path(there[0]))}", len(there))


def _keys(codes: Codes) -> NDArray[np.bytes_]:
    """Return the key of every row, (n,)."""
    rows = zip(loading.texts(codes), codes.packed, loading.labels(codes), strict=True)
    return keys.array(_key(path, code.tobytes(), labels) for path, code, labels in rows)


def _key(path: str, code: bytes, labels: Sequence[str]) -> bytes:
    return keys.row_key(path.encode(), code, (label.encode() for label in labels))


def _digests(paths: Sequence[str]) -> NDArray[np.bytes_]:
    return keys.array(keys.path_key(path.encode()) for path in paths)


def _new_paths(file: CodesFile, absent: NDArray[np.bool_]) -> NDArray[np.bytes_]:
    """Return digests of the paths of the rows that were added."""
    blocks = file.blocks(embeddings=False)
    return np.concatenate(
        [
            _digests(list(compress(loading.texts(block), absent[start : start + len(block)])))
            for start, block in blocks
        ]
    )
