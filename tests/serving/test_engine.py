"""Answers of the engine compared with a numpy search, for any batch of queries."""

import base64
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import transhash
from transhash import Codes, Filter
from transhash.codes import ModelRef, Records
from transhash.errors import IndexFolderError, MismatchError, ModelError, SelectionError, ServingError
from transhash.serving import browsing
from transhash.serving.engine import Engine
from transhash.serving.queries import Query, QueryError, code_of, cursor_of, of_cursor
from transhash.serving.words import distance_words

BITS = 16
COUNT = 200


@pytest.fixture(scope="module")
def codes():
    """Short codes, so that many distances tie; every third image is a cat."""
    packed = np.random.default_rng(1).integers(0, 256, (COUNT, BITS // 8), dtype=np.uint8)
    labels = np.array([row % 3 for row in range(COUNT)], np.int32)
    paths = [b"%d/%d.png" % (row % 2, row) for row in range(COUNT)]
    return Codes(packed, Records(paths, b"/photos", labels, ("cat", "dog", "owl")), ModelRef("toy", "t", BITS))


@pytest.fixture(scope="module", params=["flat", "ivf"])
def engine(request, codes, tmp_path_factory):
    place = tmp_path_factory.mktemp("engine") / "toys.index"
    params = {"nlist": 4, "nprobe": 4} if request.param == "ivf" else None
    index = transhash.build_index(codes, place, type=request.param, params=params)
    index.remove(Filter(ids=[5, 6]))  # ids and positions differ
    with Engine([place]) as found:
        yield found


def expected(codes, query, where=None, own=None, radius=None):
    """Return ids and distances of all matches in order."""
    apart = np.bitwise_count(codes.packed ^ query).sum(axis=1)
    rows = [
        row
        for row in range(COUNT)
        if row not in (5, 6, own)
        and (radius is None or apart[row] <= radius)
        and (where is None or not where.labels or codes.records.names(row)[0] in where.labels)
        and (where is None or not where.globs or codes.records.paths[row].startswith(b"1/"))
    ]
    return sorted((int(apart[row]), row) for row in rows)


WHERE = st.sampled_from([None, Filter(labels="cat"), Filter(globs="1/*"), Filter(labels=["cat", "owl"], globs="1/*")])
ASKED = st.lists(
    st.tuples(st.integers(7, COUNT - 1), st.booleans(), st.integers(1, 60), WHERE, st.none() | st.integers(0, BITS)),
    min_size=1,
    max_size=20,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ASKED)
def test_queries_asked_together_get_the_answers_of_a_plain_search(engine, codes, asked):
    """Consecutive pages contain every match once, in order."""
    futures = []
    for row, by_id, k, where, radius in asked:
        source = {"id": row} if by_id else {"packed": codes.packed[row]}
        futures.append(engine.search(Query(**source, k=k, where=where, radius=radius)))
    for (row, by_id, k, where, radius), future in zip(asked, futures, strict=True):
        truth = expected(codes, codes.packed[row], where, row if by_id else None, radius)
        page, found = future.result(), []
        assert page.path == (f"{row % 2}/{row}.png" if by_id else None)
        while True:
            assert len(page.matches) <= k
            found += [(match.distance, match.id) for match in page.matches]
            if page.following is None:
                break
            assert len(page.matches) == k
            name, following = of_cursor(cursor_of("toys", page.following))
            assert name == "toys"
            page = engine.search(following).result()
        assert found == truth


def test_matches_come_with_paths_and_labels(engine):
    (match,) = engine.search(Query(id=8, k=1)).result().matches
    assert match.path == f"{match.id % 2}/{match.id}.png"
    assert match.labels == (("cat", "dog", "owl")[match.id % 3],)


def test_a_query_fails_alone(engine, codes):
    wrong = engine.search(Query(packed=np.zeros(3, np.uint8)))
    gone, right = engine.search(Query(id=5)), engine.search(Query(id=9))
    none = engine.search(Query(id=9, where=Filter(labels="cow")))
    with pytest.raises(SelectionError, match="id 5: not in the index"):
        gone.result()
    with pytest.raises(MismatchError, match="24 bits"):
        wrong.result()
    with pytest.raises(SelectionError, match="no label 'cow'"):
        none.result()
    assert right.result().matches


def test_indexes_have_names_and_unknown_ones_are_refused(engine, tmp_path):
    assert list(engine.indexes) == ["toys"]
    with pytest.raises(SelectionError, match="no index 'cows'; available: 'toys'"):
        engine.index("cows")
    place = engine.index().location
    with Engine([place, place]) as twice:
        assert list(twice.indexes) == ["toys", "toys-2"]
    with pytest.raises(ServingError, match="not a folder"):
        Engine([place], images=tmp_path / "none")
    with pytest.raises(ServingError, match="nothing to serve"):
        Engine([])
    before = threading.active_count()
    with pytest.raises(IndexFolderError):
        Engine([place, tmp_path])
    assert threading.active_count() == before


def test_hashers_are_loaded_before_the_first_image_and_a_missing_one_is_reported_then(engine, codes, tmp_path):
    ref = transhash.load_hasher("phash").ref
    transhash.build_index(Codes(codes.packed.repeat(4, axis=1), codes.records, ref), tmp_path / "photos.index")
    with Engine([tmp_path / "photos.index", engine.index().location]) as two:
        two.warm_up()
        encoder, missing = (two.encoder(served.snapshot.model) for served in two.indexes.values())
        while encoder._hasher is None:
            time.sleep(0.01)
        with pytest.raises(ModelError, match="hasher was not found"):
            missing.hasher  # noqa: B018


@pytest.mark.parametrize("text", ["", "x", "AAAA", "gA==", "é", "mqR0b3lzwMDAAcCQkACTAP__"])
def test_a_damaged_cursor_is_refused(text):
    with pytest.raises(QueryError, match="cursor"):
        of_cursor(text)


@pytest.mark.parametrize("candidates", [0, 100])
def test_a_cursor_reranks_only_with_outputs(candidates):
    outputs = None if candidates else np.zeros(BITS, np.float32)
    query = Query(packed=np.zeros(BITS // 8, np.uint8), outputs=outputs, candidates=candidates)
    with pytest.raises(QueryError, match="cursor"):
        of_cursor(cursor_of("toys", query))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_cursor_breaks_the_reader(data):
    with suppress(QueryError):
        of_cursor(base64.urlsafe_b64encode(data).decode())


def test_a_code_is_hexadecimal_and_of_the_right_length():
    assert code_of("0f10", 16).tolist() == [15, 16]
    for text in ("0f", "0f1", "xy00", None):
        with pytest.raises(QueryError, match="code"):
            code_of(text, 16)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3000), st.integers(0, 1 << 31))
def test_a_random_order_holds_every_image_once(count, seed):
    found = browsing.shuffled(np.arange(count), count, seed)
    assert sorted(found.tolist()) == list(range(count))
    middle = np.arange(count // 3, count // 2)
    assert browsing.shuffled(middle, count, seed).tolist() == found[middle].tolist()


def test_words_ascend_and_cover_all_distances():
    packed = np.random.default_rng(3).integers(0, 256, (2000, 8), dtype=np.uint8)
    words = distance_words(packed, 64)
    assert [word for _, word in words] == ["copy", "likely", "similar", "unrelated"]
    bounds = [within for within, _ in words]
    assert bounds == sorted(set(bounds))
    assert bounds[-1] == 64
    apart = np.bitwise_count(packed[:1000] ^ packed[1000:]).sum(axis=1)
    assert (apart <= bounds[1]).sum() == 0
    assert distance_words(packed[:1], 64) == [(64, "unrelated")]
    assert distance_words(np.zeros((50, 8), np.uint8), 64)[-1] == (64, "unrelated")
