import os
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from transhash import Codes, Filter, Index, hamming
from transhash.codes import ModelRef, Records
from transhash.errors import BackendError, MismatchError, SelectionError
from transhash.index import filters
from transhash.index.local import LocalIndex

MODEL = ModelRef("phash", "digest", 16)
CODE = np.zeros((1, 2), np.uint8)
PATHS = [b"cats/1.jpg", b"cats/2.png", b"dogs/1.jpg", b"dogs/old/1.jpg", b"/elsewhere/3.jpg", b"[x] \xff.jpg"]
LABELS = [(0, 1), (0, -1), (1, -1), (-1, -1), (2, 0), (1, -1)]


def index_of(paths=PATHS, root=b"/photos", backend="exact"):
    codes = np.random.default_rng(len(paths)).integers(0, 256, (len(paths), 2), dtype=np.uint8)
    labels = np.array(LABELS[: len(paths)], np.int32) if len(paths) == len(LABELS) else None
    names = ("cat", "dog", "old", "unused") if labels is not None else ()
    return LocalIndex.build(Codes(codes, Records(paths, root, labels, names), MODEL), backend)


def rows(mask):
    assert mask.dtype == np.bool_
    return np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["cats/*"], [0, 1]),
        (["*/1.jpg"], [0, 2, 3]),
        (["1.jpg"], [0, 2, 3]),
        (["CATS/*", "*.png"], [1]),
        (["/photos/*"], [0, 1, 2, 3, 5]),
        (["/elsewhere/*", "cats/?.jpg"], [0, 4]),
        (["[[]x] \udcff.jpg"], [5]),
        (["dogs/*", "dogs/old/*"], [2, 3]),
    ],
)
def test_globs(patterns, expected):
    assert rows(filters.globs(index_of(), patterns)) == expected


ALPHABET = "ab/.*?[]!\udcff\u00e9"
NAMES = st.text(ALPHABET.translate({ord(char): None for char in "*?"}), min_size=1, max_size=6)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(NAMES.filter(lambda name: name[0] != "/"), min_size=1, max_size=5),
    st.lists(st.text(ALPHABET, min_size=1, max_size=5), min_size=1),
)
def test_globs_equal_fnmatch(names, patterns):
    paths = [os.fsencode(name) for name in names]
    expected = [
        row
        for row, path in enumerate(paths)
        for found in [
            fnmatchcase(os.path.join(b"/r", path), pattern)
            if pattern.startswith(b"/")
            else fnmatchcase(path, pattern) or fnmatchcase(os.path.basename(path), pattern)
            for pattern in map(os.fsencode, patterns)
        ]
        if found
    ]
    assume(expected)
    assert rows(filters.globs(index_of(paths, b"/r"), patterns)) == sorted(set(expected))


def test_paths(tmp_path, monkeypatch):
    root = os.fsencode(tmp_path)
    index = index_of([b"1.jpg", b"sub/1.jpg", b"sub/2.jpg", b"/other/x.jpg", b"sub/2.jpg"], root)
    assert rows(filters.paths(index, ["1.jpg"])) == [0]
    assert rows(filters.paths(index, [tmp_path / "1.jpg", b"/other/x.jpg"])) == [0, 3]
    assert rows(filters.paths(index, [b"sub/2.jpg"])) == [2, 4]
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert rows(filters.paths(index, ["1.jpg"])) == [1]
    assert rows(filters.paths(index, ["../1.jpg", "./2.jpg", "sub/1.jpg"])) == [0, 1, 2, 4]
    with pytest.raises(SelectionError, match=r"not in the index: 'none.jpg', 'x'; paths look like '1.jpg' in"):
        filters.paths(index, ["none.jpg", "1.jpg", "x"])


def test_labels():
    index = index_of()
    assert rows(filters.labels(index, ["cat"])) == [0, 1, 4]
    assert rows(filters.labels(index, ["dog", "old"])) == [0, 2, 4, 5]
    with pytest.raises(
        SelectionError, match="no label 'cow', 'pig' in the index; available: 'cat', 'dog', 'old', 'un"
    ):
        filters.labels(index, ["cat", "cow", "pig"])
    with pytest.raises(SelectionError, match="no image in the index has the label 'unused'"):
        filters.labels(index, ["unused"])
    with pytest.raises(SelectionError, match="no label 'cat' in the index; its images have none"):
        filters.labels(index_of(PATHS[:3]), ["cat"])


def test_ids_are_those_of_the_index():
    index = index_of()
    index.remove(filters.ids(index, [1, 3]))
    assert rows(filters.ids(index, iter([5, 2]))) == [1, 3]
    with pytest.raises(SelectionError, match="id 3 and 1 more: not in the index"):
        filters.ids(index, [0, 3, 99])


def test_what_matches_nothing_is_an_error():
    with pytest.raises(
        SelectionError, match=r"no path in the index matches 'x\*'; paths look like 'cats/1.jpg' in '/p"
    ):
        filters.globs(index_of(), ["x*"])
    one, other = np.array([True, False]), np.array([False, True])
    with pytest.raises(SelectionError, match="no image passes all filters"):
        filters.both(one, other)
    assert filters.both(None, None) is None
    assert filters.both(one, None) is one
    assert filters.both(None, one) is one


@pytest.mark.parametrize("type", ["flat", "mih", "ivf", "hnsw"])
@pytest.mark.parametrize("where", [Filter(ids=[]), Filter(ids=[], globs="*")])
def test_no_ids_select_no_image(type, where):
    codes = np.random.default_rng(0).integers(0, 256, (50, 8), dtype=np.uint8)
    index = Index.build(Codes(codes, Records([b"%d" % row for row in range(50)]), ModelRef("m", "d", 64)), type)
    assert [len(found) for found in index.search(codes[:2], 3, where=where)] == [0, 0]
    assert [len(found) for found in index.search(codes[:2], radius=64, where=where)] == [0, 0]


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 16), st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_a_filtered_search_equals_a_search_in_what_is_left(backend, count, k, radius, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (count, 2), dtype=np.uint8)
    index = LocalIndex.build(Codes(codes, Records([b"%d" % row for row in range(count)]), MODEL), backend)
    gone = rng.random(count) < 0.2
    if not gone.all():
        index.remove(gone)
    ids = index.ids.of(np.arange(len(index)))
    allowed = rng.random(len(index)) < 0.5
    left = ids[allowed]
    found, expected = index.search(codes[:3], k, allowed=allowed), hamming.top_k(codes[:3], codes[left], k)
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.ids, left[expected.ids])
    near, inside = (
        index.range_search(codes[:3], radius, None, allowed),
        hamming.within(codes[:3], codes[left], radius),
    )
    np.testing.assert_array_equal(near.offsets, inside.offsets)
    np.testing.assert_array_equal(near.ids, left[inside.ids])


@pytest.mark.parametrize("mask", [np.ones(5, bool), np.ones(6), np.ones((6, 1), bool)])
def test_a_mask_that_does_not_fit_is_refused(mask):
    for attempt in (
        lambda index: index.search(np.zeros((1, 2), np.uint8), allowed=mask),
        lambda index: index.range_search(np.zeros((1, 2), np.uint8), 3, allowed=mask),
        lambda index: index.remove(mask),
    ):
        with pytest.raises(MismatchError, match=r"a mask .* expected \(6,\) of bool"):
            attempt(index_of())


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda index: Filter(labels=7), TypeError, "labels must be a string or a list of strings, not int"),
        (lambda index: Filter(ids="a"), TypeError, "ids must be integers, such as 7 or [7, 9], not str"),
        (
            lambda index: Filter(ids=np.array([1, 2.5])),
            TypeError,
            "ids must be integers, such as 7 or [7, 9], not float64",
        ),
        *(
            (lambda index, mask=mask: Filter(ids=mask), TypeError, "not bool; for a mask, pass np.flatnonzero(mask)")
            for mask in (np.ones(3, bool), [True, False])
        ),
        (lambda index: index.kneighbors(CODE, 0), BackendError, "n_neighbors=0: must be at least 1"),
        (
            lambda index: index.search(CODE, rerank="embeddings"),
            SelectionError,
            'rerank="embeddings" needs embeddings=FILE, a codes file with embeddings',
        ),
        (lambda index: index.search(CODE, candidates=9), SelectionError, "also pass rerank="),
    ],
)
def test_messages_name_the_argument(call, kind, message):
    index = Index.build(Codes(CODE, Records([b"a.jpg"]), MODEL), "exact")
    with pytest.raises(kind) as refused:
        call(index)
    assert message in str(refused.value)
