"""Changes that are kept beside an index: what an index with them answers, and what a kill or damage leaves."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import transhash
from transhash import Codes, Filter
from transhash.codes import ModelRef, Records, write_codes
from transhash.errors import BackendError, IndexFolderError, SelectionError, TransHashError
from transhash.index import editing, lookup, manifest
from transhash.index.index import Index
from transhash.index.rows import Added, Changes

MODEL = ModelRef("phash", "digest-a", 16)
NAMES = ("red", "green", "blue")


@pytest.fixture(autouse=True, scope="module")
def small_indexes_keep_changes_beside_them():
    before = editing._LEAST, editing._SHARE, editing._LOOKED_UP
    editing._LEAST, editing._SHARE = 1, 1
    yield
    editing._LEAST, editing._SHARE, editing._LOOKED_UP = before


def codes_of(rows, root=b"/photos"):
    """Codes from rows (path, code, label, size); a label is a place in NAMES or -1, a size is -1 if unknown."""
    packed = np.array([[code >> 8, code & 255] for _, code, _, _ in rows], np.uint8).reshape(-1, 2)
    labels = np.array([label for *_, label, _ in rows], np.int32)
    sizes = np.array([size for *_, size in rows], np.int64)
    names = NAMES if (labels >= 0).any() else ()
    stats = (sizes, np.where(sizes < 0, -1, sizes * 10)) if (sizes >= 0).any() else (None, None)
    records = Records([path for path, *_ in rows], root, labels if names else None, names, *stats)
    return Codes(packed, records, MODEL)


def numbered(start, stop):
    return codes_of([(b"%d.jpg" % number, number * 257 % 65536, -1, -1) for number in range(start, stop)])


def described(index):
    """The rows of an index: {id: (full path, code, labels, size)}."""
    ids, codes = index.snapshot()
    sizes = codes.records.sizes
    known = np.full(len(ids), -1) if sizes is None else np.asarray(sizes)
    if codes.records.mtimes is not None:
        np.testing.assert_array_equal(np.asarray(codes.records.mtimes), np.where(known < 0, -1, known * 10))
    packed = codes.packed.astype(int)
    return {
        id: (path, (high << 8) + low, codes.records.names(row), int(known[row]))
        for row, (id, path, (high, low)) in enumerate(
            zip(ids.tolist(), codes.records.full_paths(), packed.tolist(), strict=True)
        )
    }


def distances(query, rows):
    return np.array([(query ^ code).bit_count() for _, code, _, _ in rows.values()], np.int64)


def check(index, rows, params):
    """Compare everything that an index answers with plain rows."""
    assert len(index) == len(rows) == index.info()["codes"]
    found = described(index)
    assert found == rows
    assert list(found) == list(rows)
    ids = np.array(list(rows))
    packed = codes_of([(b"", code, -1, -1) for _, code, _, _ in rows.values()][:4]).packed
    queries = np.concatenate([packed, np.array([[0, 0], [171, 205]], np.uint8)])
    inside = ids[::2]
    for where, allowed in ((None, np.ones(len(ids), bool)), (Filter(ids=inside.tolist()), np.isin(ids, inside))):
        nearest = index.search(queries, 3, where=where, params=params)
        within = index.search(queries, radius=5, where=where, params=params)
        for query, code in enumerate(queries.astype(int)):
            far = distances((code[0] << 8) + code[1], rows)[allowed]
            order = np.lexsort((ids[allowed], far))
            for result, kept in ((nearest, order[:3]), (within, order[far[order] <= 5])):
                span = slice(result.offsets[query], result.offsets[query + 1])
                assert result.ids[span].tolist() == ids[allowed][kept].tolist()
                assert result.distances[span].tolist() == far[kept].tolist()
    for id, (path, _, labels, _) in list(rows.items())[-3:]:
        assert index.path(id) == os.fsdecode(path)
        assert index.labels(id) == labels
        assert len(index.like(id, 1, params=params).ids) == (len(rows) > 1)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 12).map(b"%d.jpg".__mod__),
        st.sampled_from([0, 1, 3, 7, 256, 65535, 4242]),
        st.integers(-1, 2),
        st.sampled_from([-1, 5, 6]),
    ),
    max_size=5,
    unique_by=lambda row: row[0],
)
ROOTS = st.sampled_from([b"/photos", b"/photos", b"/photos", b"/other"])
EDITS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "replace", "replace", "sync", "compact", "tune"]), ROWS, ROWS, ROOTS)
    | st.tuples(st.just("remove"), st.sets(st.integers(0, 12), max_size=3), st.none(), ROOTS),
    max_size=7,
)


def plainly(rows, following, name, first, second, root):
    """Change plain rows; return them, the next id, and what the method returns or the error that it raises."""
    if name == "remove":
        gone = {id for id, row in rows.items() if int(row[0].split(b"/")[-1][:-4]) in first}
        if not gone or gone == rows.keys():
            return rows, following, SelectionError
        return {id: row for id, row in rows.items() if id not in gone}, following, len(gone)
    full = [
        [
            (root + b"/" + path, code, NAMES[label : label + 1] if label >= 0 else (), size)
            for path, code, label, size in part
        ]
        for part in (first, second)
    ]
    if name == "sync":
        if not first:
            return rows, following, TransHashError
        wanted = {row[:3]: row for row in full[0]}
        kept = {id: wanted[row[:3]] for id, row in rows.items() if row[:3] in wanted}
        gone = {row[0] for id, row in rows.items() if id not in kept}
        new = [row for key, row in wanted.items() if key not in {row[:3] for row in rows.values()}]
        changed = len(gone & {row[0] for row in new})
        kept |= dict(enumerate(new, following))
        return kept, following + len(new), Changes(len(new) - changed, len(gone) - changed, changed)
    total, replaced = 0, 0
    for part in full:
        paths = {row[0] for row in part}
        gone = {id for id, row in rows.items() if row[0] in paths}
        if gone and name == "add":
            return None, None, SelectionError
        rows = {id: row for id, row in rows.items() if id not in gone} | dict(enumerate(part, following))
        following, total, replaced = following + len(part), total + len(part), replaced + len(gone)
    return rows, following, Added(total, replaced)


@pytest.mark.parametrize(("kind", "looked_up"), [("flat", 1 << 14), ("flat", 0), ("ivf", 1 << 14), ("mih", 1 << 14)])
@settings(max_examples=60, deadline=None, report_multiple_bugs=False, phases=[Phase.generate])
@given(first=ROWS.filter(len), edits=EDITS)
def test_answers_are_those_of_plain_rows(kind, looked_up, first, edits, tmp_path_factory):
    editing._LOOKED_UP = looked_up
    folder = tmp_path_factory.mktemp("patched")
    Index.build(codes_of(first), kind).save(folder / "i")
    params = {"nprobe": 1000} if kind == "ivf" else {}
    rows, following, _ = plainly({}, 0, "replace", first, [], b"/photos")
    index = transhash.open(folder / "i")
    for name, one, two, root in edits:
        if name == "compact":
            index.compact()
            assert manifest.read(folder / "i").changes is None
        elif name == "tune":
            if kind == "ivf":
                index.tune(0.5, 1)
        else:
            after, then, expected = plainly(rows, following, name, one, two, root)
            parts = [] if name == "remove" else [codes_of(part, root) for part in (one, two)]
            if name == "sync":
                write_codes(folder / "wanted.h5", parts[0])
                attempt = lambda: index.sync(folder / "wanted.h5")
            elif name == "remove":
                attempt = lambda: index.remove([Filter(globs=[f"{number}.jpg" for number in one] or ["none"])])
            else:
                attempt = lambda: index.add(parts, replace=name == "replace")
            if isinstance(expected, type):
                with pytest.raises(expected):
                    attempt()
                continue
            assert attempt() == expected
            rows, following = after, then
    check(index, rows, params)
    check(transhash.open(folder / "i"), rows, params)
    if kind != "mih" or len(rows) < 1000:
        check(transhash.open(folder / "i", mmap=True), rows, params)
    assert manifest.read(folder / "i").next_id == following
    assert list(transhash.open(folder / "i").verify()) == []
    assert len(list((folder / "i").glob("[!.]*"))) == 1 + len(manifest.read(folder / "i").folders)
