"""Fingerprints of the evaluated data, which show whether two evaluations used the same split."""

import hashlib
import os
from collections.abc import Iterator

import numpy as np

from ..codes import NO_LABEL, Records
from .relevance import label_lists

_DIGITS = 12


def identity(records: Records) -> str:
    r"""Return a fingerprint of the rows' paths and labels, independent of their order: 12 hexadecimal digits.

    They are the first digits of the SHA-256 of the sorted lines ``path \t label \x1f label ... \n`` (without the
    spaces): the path's bytes as stored, and the row's label names sorted, in UTF-8.
    """
    digest = hashlib.sha256()
    for line in sorted(_lines(records)):
        digest.update(line)
    return digest.hexdigest()[:_DIGITS]


def shared_rows(queries: Records, database: Records) -> int:
    """Return the number of queries that are also in the database, by absolute path."""
    query_paths = [_absolute(queries.root, path) for path in queries.paths]
    shared = set(query_paths).intersection(_absolute(database.root, path) for path in database.paths)
    return sum(path in shared for path in query_paths)


def _lines(records: Records) -> Iterator[bytes]:
    names = [name.encode("utf-8", "backslashreplace") for name in records.label_names]
    lists = np.empty((len(records), 0), np.int32) if records.labels is None else label_lists(records.labels)
    for path, places in zip(records.paths, lists.tolist(), strict=True):
        labels = sorted(names[place] for place in places if place != NO_LABEL)
        yield path + b"\t" + b"\x1f".join(labels) + b"\n"


def _absolute(root: bytes, path: bytes) -> bytes:
    return os.path.abspath(os.path.join(root, path))
