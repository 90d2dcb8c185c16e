from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import hamming, native


@st.composite
def collections(draw):
    """Queries and codes of one width, drawn from few values so that ties and duplicates are common."""
    width = draw(st.one_of(st.integers(1, 20), st.sampled_from([8, 16, 24, 32, 48, 63, 64, 65, 100, 128])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([2, 4, 256]))
    queries, codes = (
        rng.integers(0, values, (draw(st.integers(low, high)), width), dtype=np.uint8)
        for low, high in ((0, 5), (1, 150))
    )
    return queries, codes


def oracle(queries, codes):
    """Distances computed from unpacked bits."""
    bits = np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(codes, axis=1)[None]
    return bits.sum(axis=2)


@pytest.fixture(autouse=True, params=["", *native.isas], ids=lambda isa: isa or "numpy")
def isa(request, monkeypatch):
    monkeypatch.setattr(hamming, "isa", request.param)
    return request.param


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(hamming, "_BLOCK", 64)
    monkeypatch.setattr(hamming, "_ROWS", 16)
    monkeypatch.setattr(native, "_CACHE", 1)
    monkeypatch.setattr(native, "_READ_FOR", 2)


@pytest.fixture
def large_groups(monkeypatch):
    monkeypatch.setattr(native, "_READ_FOR", 64)


@pytest.mark.slow
@given(collections())
def test_distances(pair):
    np.testing.assert_array_equal(hamming.distances(*pair), oracle(*pair))


@settings(deadline=None)
@given(collections(), st.integers(1, 70))
def test_top_k_is_a_stable_sort(pair, k):
    queries, codes = pair
    distances = oracle(queries, codes)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    found = hamming.top_k(queries, codes, k)
    np.testing.assert_array_equal(found.ids, order)
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_what_lies_behind_the_codes_does_not_matter(width, count, asked, seed):
    rows = np.random.default_rng(seed).integers(0, 256, (count + asked + 8, width), dtype=np.uint8)
    codes, queries = rows[:count], rows[count : count + asked]
    found = hamming.top_k(queries, codes, count)
    np.testing.assert_array_equal(found.ids, np.argsort(oracle(queries, codes), axis=1, kind="stable"))


@pytest.mark.slow
@settings(deadline=None)
@given(collections(), st.integers(1, 70), st.randoms(use_true_random=False))
def test_top_k_with_a_mask(pair, k, random):
    queries, codes = pair
    allowed = np.array([random.random() < 0.4 for _ in codes])
    distances = np.where(allowed, oracle(queries, codes), 10_000)
    order = np.argsort(distances, axis=1, kind="stable")[:, : min(k, int(allowed.sum()))]
    found = hamming.top_k(queries, codes, k, allowed)
    np.testing.assert_array_equal(found.ids, order)
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))


@settings(deadline=None)
@given(collections(), st.integers(0, 170))
def test_within_includes_the_radius_and_is_ordered(pair, radius):
    queries, codes = pair
    distances = oracle(queries, codes)
    found = hamming.within(queries, codes, radius)
    assert len(found) == len(queries)
    for query in range(len(queries)):
        ids, own = found.row(query)
        expected = sorted((d, i) for i, d in enumerate(distances[query].tolist()) if d <= radius)
        assert list(zip(own.tolist(), ids.tolist(), strict=True)) == expected


def check_counts(pair, labels, relevance):
    """Compare counts with relevance (q, n) bool, level by level."""
    queries, codes = pair
    total, relevant = hamming.counts(queries, codes, *labels)
    distances = oracle(queries, codes)
    levels = np.arange(codes.shape[1] * 8 + 1)
    for query in range(len(queries)):
        np.testing.assert_array_equal(total[query], (distances[query][None] == levels[:, None]).sum(axis=1))
        hits = distances[query][relevance[query]]
        np.testing.assert_array_equal(relevant[query], (hits[None] == levels[:, None]).sum(axis=1))


@settings(deadline=None)
@given(collections(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_counts(pair, classes, seed):
    """One label per row; rows with -1 have no label and share none."""
    rng = np.random.default_rng(seed)
    asked, stored = (rng.integers(-1, classes, len(rows)).astype(np.int32) for rows in pair)
    check_counts(pair, (asked, stored), (asked[:, None] == stored) & (asked[:, None] >= 0))


@settings(deadline=None)
@given(collections(), st.integers(1, 150), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_counts_of_label_sets(pair, classes, density, seed):
    rng = np.random.default_rng(seed)
    asked, stored = (rng.random((len(rows), classes)) < density for rows in pair)
    sets = [np.packbits(side, axis=1) for side in (asked, stored)]
    check_counts(pair, sets, asked.astype(int) @ stored.astype(int).T > 0)


@pytest.mark.parametrize("bits", [120, 128, 256, 1024])
def test_counts_reach_the_far_end(bits):
    """Distance and relevance are packed into one small integer, which must not overflow at any length."""
    codes = np.array([[0] * (bits // 8), [255] * (bits // 8)], dtype=np.uint8)
    total, relevant = hamming.counts(codes[:1], codes, np.array([3], np.int32), np.array([3, 3], np.int32))
    for found in (total, relevant):
        assert found[0].nonzero()[0].tolist() == [0, bits]


@st.composite
def inverted_files(draw):
    """Queries, codes, the list of each code, and which lists each query probes."""
    queries, codes = draw(collections())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nlist = draw(st.integers(1, 6))
    probes = np.array([rng.permutation(nlist) for _ in queries], dtype=np.int64).reshape(len(queries), nlist)
    probes = np.ascontiguousarray(probes[:, : draw(st.integers(1, nlist))])
    probes[rng.random(probes.shape) < 0.1] = -1
    return queries, codes, rng.integers(0, nlist, len(codes)), probes, rng.random(len(codes)) < 0.6


@settings(deadline=None)
@given(inverted_files(), st.integers(1, 70), st.integers(0, 170), st.booleans())
def test_lists(file, k, radius, filtered):
    queries, codes, owner, probes, allowed = file
    order = np.random.default_rng(0).permutation(len(codes))  # lists hold ids in any order
    members = [order[owner[order] == place] for place in range(int(probes.max(initial=0)) + 1)]
    lists = hamming.Lists([codes[ids] for ids in members], members)
    given_mask = allowed if filtered else None
    nearest = hamming.top_k_lists(queries, lists, probes, k, given_mask)
    near = hamming.within_lists(queries, lists, probes, radius, given_mask)
    distances = oracle(queries, codes)
    for query in range(len(queries)):
        seen = [i for i in range(len(codes)) if owner[i] in probes[query] and (allowed[i] or not filtered)]
        expected = sorted((int(distances[query, i]), i) for i in seen)
        ids, bits = nearest.row(query)
        assert list(zip(bits.tolist(), ids.tolist(), strict=True)) == expected[:k]
        ids, bits = near.row(query)
        assert list(zip(bits.tolist(), ids.tolist(), strict=True)) == [pair for pair in expected if pair[0] <= radius]


@settings(deadline=None)
@given(inverted_files(), st.integers(1, 70), st.booleans())
def test_lists_of_the_nearest_centroids(file, k, filtered):
    queries, codes, owner, probes, allowed = file
    members = [np.flatnonzero(owner == place) for place in range(int(owner.max()) + 1)]
    centroids = np.random.default_rng(0).choice(np.concatenate([codes, ~codes]), len(members))
    lists = hamming.Lists([codes[ids] for ids in members], members, centroids)
    count = min(probes.shape[1], len(members))
    chosen = np.argsort(oracle(queries, centroids), axis=1, kind="stable")[:, :count]
    mask = allowed if filtered else None
    found, expected = hamming.top_k_probed(queries, lists, count, k, mask), _in_lists(queries, lists, chosen, k, mask)
    np.testing.assert_array_equal(found.ids, expected[0])
    np.testing.assert_array_equal(found.distances, expected[1])


def _in_lists(queries, lists, chosen, k, mask):
    """Compare every query with the codes of the chosen lists, one list after the other."""
    ids = np.full((len(queries), k), -1)
    distances = np.full((len(queries), k), np.iinfo(np.int32).max)
    for query, own in enumerate(chosen):
        pairs = [
            (int(bits), int(id))
            for place in own
            for bits, id in zip(
                oracle(queries[query : query + 1], lists.codes[place])[0], lists.ids[place], strict=True
            )
            if mask is None or mask[id]
        ]
        for rank, (bits, id) in enumerate(sorted(pairs)[:k]):
            ids[query, rank], distances[query, rank] = id, bits
    return ids, distances


@cache
def divided(count):
    """Queries, codes, centroids, members of lists, a mask, and the matches of each query by number of probes."""
    rng = np.random.default_rng(count)
    codes, centroids = rng.integers(0, 256, (4000, 6), dtype=np.uint8), rng.integers(0, 256, (9, 6), dtype=np.uint8)
    members = np.split(rng.permutation(4000), [0, 1, 40, 900, 1500, 1501, 2000, 3000])
    queries = codes[:count] ^ (rng.random((count, 6)) < 0.3)
    mask = rng.random(4000) < 0.5
    nearest, distances = np.argsort(oracle(queries, centroids), axis=1, kind="stable"), oracle(queries, codes)
    expected = []
    for probes in range(1, 10):
        matches = []
        for query, chosen in enumerate(nearest[:, :probes]):
            ids = np.sort(np.concatenate([members[place] for place in chosen]))
            ids = ids[mask[ids]]
            best = ids[np.argsort(distances[query, ids], kind="stable")[:20]]
            matches.append((best, distances[query, best]))
        expected.append(matches)
    return queries, codes, centroids, members, mask, expected


@pytest.mark.usefixtures("large_groups")
@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("count", [1, 2, 70])
def test_probed_lists_in_threads(threads, count, monkeypatch):
    """As many queries, lists and codes as make the scan divide and reorder the work."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(native, "_SMALL", 1000)
    queries, codes, centroids, members, mask, expected = divided(count)
    lists = hamming.Lists([codes[ids] for ids in members], members, centroids)
    for probes, matches in enumerate(expected, 1):
        found = hamming.top_k_probed(queries, lists, probes, 20, mask)
        for query, (ids, distances) in enumerate(matches):
            np.testing.assert_array_equal(found.row(query)[0], ids)
            np.testing.assert_array_equal(found.row(query)[1], distances)


@cache
def clustered(width, count, asked):
    """Queries, codes around centres, a mask, and all distances."""
    rng = np.random.default_rng(width)
    centres = rng.integers(0, 256, (20, width), dtype=np.uint8)
    noise = rng.integers(0, 256, (2, count, width), dtype=np.uint8)
    codes = centres[rng.integers(0, 20, count)] ^ (noise[0] & noise[1] & rng.integers(0, 256, (count, width)))
    codes = codes.astype(np.uint8)
    queries = codes[:asked] ^ (np.arange(asked) % 2).astype(np.uint8)[:, None]  # half of them are in the collection
    distances = np.concatenate([oracle(queries[place : place + 1], codes) for place in range(asked)])
    return queries, codes, rng.random(count) < 0.5, distances


@pytest.mark.usefixtures("large_groups")
@pytest.mark.parametrize("width", [8, 12, 16, 24, 32, 64, 100, 128])
@pytest.mark.parametrize(("asked", "k"), [(1, 10), (20, 10), (20, 700), (70, 1), (70, 700)])
def test_many_queries_over_clustered_codes(width, asked, k):
    """As many codes and queries as make the scan compare parts of codes first, or single bits of many codes."""
    count = 6000 if hamming.isa else 800  # numpy's blocks are the small ones of these tests
    queries, codes, allowed, distances = clustered(width, count, asked)
    for mask in (None, allowed, np.arange(count) % 40 == 7):
        rows = np.arange(count) if mask is None else np.flatnonzero(mask)
        order = rows[np.argsort(distances[:, rows], axis=1, kind="stable")[:, :k]]
        found = hamming.top_k(queries, codes, k, mask)
        np.testing.assert_array_equal(found.ids, order)
        np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))


@cache
def near_queries(width, rows):
    """Queries, codes of which a third are near one of them, a mask, and all distances."""
    rng = np.random.default_rng(width + rows)
    queries, codes = (rng.integers(0, 256, (count, width), dtype=np.uint8) for count in (50, rows))
    codes[: rows // 3] = queries[rng.integers(0, 50, rows // 3)] ^ (rng.random((rows // 3, width)) < 0.2)
    return queries, codes, rng.random(rows) < 0.5, oracle(queries, codes)


@pytest.mark.parametrize("rows", [127, 256, 513, 1100])
@pytest.mark.parametrize("width", [1, 8, 9, 17, 32, 100])
def test_many_queries_within_a_radius(width, rows, isa):
    """Numbers of codes around those that are compared together; limits are odd and even."""
    rows = rows if isa else min(rows, 256)  # numpy's blocks are the small ones of these tests
    queries, codes, allowed, distances = near_queries(width, rows)
    for radius in (0, 1, width * 3, width * 8):
        for mask in (None, allowed, np.arange(rows) % 40 == 7):
            near = distances <= radius if mask is None else (distances <= radius) & mask
            found = hamming.within(queries, codes, radius, mask)
            np.testing.assert_array_equal(np.diff(found.offsets), near.sum(axis=1))
            for query in range(0, len(queries), 4):
                ids = np.flatnonzero(near[query])
                ids = ids[np.argsort(distances[query, ids], kind="stable")]
                np.testing.assert_array_equal(found.row(query)[0], ids)
                np.testing.assert_array_equal(found.row(query)[1], distances[query, ids])


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_ties_in_long_lists(ascending, k):
    """Of equal codes, those with the smallest ids are returned, regardless of their lists and order."""
    rng = np.random.default_rng(k)
    codes = np.array([0, 0, 0, 1, 3], np.uint8)[rng.integers(0, 5, 9000)][:, None].repeat(8, axis=1)
    order = rng.permutation(9000)
    places = [np.sort(part) if ascending else part for part in np.split(order, [5000, 5001, 5100])]
    lists = hamming.Lists([codes[part] for part in places], places)
    queries = np.array([[0] * 8, [255] * 8, [1] * 8], np.uint8)
    probes = np.array([[0, 1, 2, 3], [3, 0, -1, 2], [2, 1, 3, 0]])
    allowed = rng.random(9000) < 0.5
    for mask in (None, allowed):
        found = hamming.top_k_lists(queries, lists, probes, k, mask)
        for query, own in enumerate(probes):
            ids = np.sort(np.concatenate([places[place] for place in own[own >= 0]]))
            ids = ids if mask is None else ids[mask[ids]]
            distances = oracle(queries[query : query + 1], codes[ids])[0]
            best = np.argsort(distances, kind="stable")[:k]
            np.testing.assert_array_equal(found.ids[query], ids[best])
            np.testing.assert_array_equal(found.distances[query], distances[best])


@cache
def unaligned(width, count):
    """Queries, codes at an odd address, a mask, all distances, and the order of the codes."""
    rng = np.random.default_rng(width)
    memory = np.empty(count * width + 1, np.uint8)
    codes = memory[1:].reshape(count, width)
    codes[:] = rng.integers(0, 256, (count, width)) & rng.integers(0, 256, (count, 1))
    queries = rng.integers(0, 256, (13, width), dtype=np.uint8)
    distances = oracle(queries, codes)
    return queries, codes, rng.random(count) < 0.3, distances, np.argsort(distances, axis=1, kind="stable")


@pytest.mark.slow
@pytest.mark.parametrize("width", [*range(1, 18), 24, 25, 32, 33, 64, 100, 127, 128])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_blocks_threads_and_unaligned_memory(width, threads, isa, monkeypatch):
    """More rows than a block, an unaligned address, and k from 1 to all."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(native, "_SMALL", 1000)
    count = 5001 if isa and width < 17 else 1201  # numpy's blocks are the small ones of these tests
    queries, codes, allowed, every_distance, every_order = unaligned(width, count)
    radius = int(np.median(every_distance))
    for asked in (2, 13):
        distances, order = every_distance[:asked], every_order[:asked]
        for k in (1, 100, count):
            found = hamming.top_k(queries[:asked], codes, k)
            np.testing.assert_array_equal(found.ids, order[:, :k])
            np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order[:, :k], axis=1))
        near = hamming.within(queries[:asked], codes, radius, allowed)
        for query in range(asked):
            ranked = order[query]
            expected = ranked[(distances[query, ranked] <= radius) & allowed[ranked]]
            np.testing.assert_array_equal(near.row(query)[0], expected)


def test_the_scan_rejects_invalid_arguments():
    if not native.isas:
        pytest.skip("built without a C compiler")
    codes, pairs = np.zeros((4, 8), np.uint8), np.zeros((1, 2), np.uint64)
    table = native.Segments([codes], [np.arange(4)]).table
    ids, distances = np.zeros(3, np.int64), np.zeros(3, np.int32)
    with pytest.raises(ValueError, match="instruction set"):
        native._scan.nearest("abacus", 8, codes, table, pairs, None, 1, ids, distances)
    with pytest.raises(ValueError, match="bytes"):
        native._scan.nearest("portable", 8, codes, table, pairs, None, 1, ids, distances)
    with pytest.raises(ValueError, match="outside"):
        native._scan.nearest("portable", 8, codes, table, pairs + 9, None, 1, ids, distances)
    with pytest.raises(ValueError, match="bytes"):
        native._scan.nearest_lists("portable", 8, codes, table, codes, 1, None, 1, ids, distances)
    for probes in (0, 2):
        with pytest.raises(ValueError, match="probes"):
            native._scan.nearest_lists("portable", 8, codes[:1], table, codes[:1], probes, None, 1, ids, distances)
    with pytest.raises(ValueError, match="at least 1"):
        native._scan.nearest_lists("portable", 8, codes[:1], table, codes[:1], 1, None, 0, ids, distances)


def test_mismatched_shapes_are_rejected():
    codes = np.zeros((100, 4), np.uint8)

    def nearest(queries, codes, allowed=None):
        return hamming.top_k(queries, codes, 3, allowed)

    def near(queries, codes, allowed=None):
        return hamming.within(queries, codes, 3, allowed)

    lists = hamming.Lists([codes], [np.arange(100)])
    for search in (nearest, near):
        with pytest.raises(ValueError, match="different widths"):
            search(np.zeros((1, 8), np.uint8), codes)
        with pytest.raises(ValueError, match="for 100 codes"):
            search(codes[:1], codes, np.ones(9, bool))
    with pytest.raises(ValueError, match="different widths"):
        hamming.top_k_lists(np.zeros((1, 8), np.uint8), lists, np.zeros((1, 1), np.int64), 3)


@pytest.mark.parametrize(("width", "rows"), [(1, 5003), (8, 4999), (8, 70_001), (9, 4097), (32, 1029), (128, 300)])
def test_many_codes_are_counted_by_distance_and_label(width, rows, isa):
    if not isa:
        rows = min(rows, 600)  # numpy's blocks are the small ones of these tests
    rng = np.random.default_rng(width + rows)
    queries, codes = (rng.integers(0, 256, (count, width), dtype=np.uint8) for count in (7, rows))
    query_labels = np.array([0, 3, 3, -1, 9, -2, 1], np.int32)  # of 9 there is none
    labels = rng.integers(-1, 5, rows).astype(np.int32)
    found, relevant = hamming.counts(queries, codes, query_labels, labels)
    for query, distances in enumerate(oracle(queries, codes)):
        same = (labels == query_labels[query]) & (labels >= 0)
        np.testing.assert_array_equal(found[query], np.bincount(distances, minlength=8 * width + 1))
        np.testing.assert_array_equal(relevant[query], np.bincount(distances[same], minlength=8 * width + 1))


@pytest.mark.parametrize("room", [0, 1, 7, 40, 1 << 12])
def test_radius_searches_with_few_or_many_matches(room, monkeypatch):
    """The room for matches that are found in one scan decides only how they are found."""
    monkeypatch.setattr(native, "_FEW", room)
    queries, codes, allowed, distances = near_queries(8, 256)
    for radius in (0, 5, 20, 64):
        found = hamming.within(queries[:3], codes, radius, allowed)
        for query in range(3):
            ids = np.flatnonzero((distances[query] <= radius) & allowed)
            ids = ids[np.argsort(distances[query, ids], kind="stable")]
            np.testing.assert_array_equal(found.row(query)[0], ids)
            np.testing.assert_array_equal(found.row(query)[1], distances[query, ids])
