from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.codes import Codes, ModelRef, Records
from transhash.errors import MismatchError
from transhash.evaluation import Levels, measure, score_levels
from transhash.evaluation.average_precision import average_precision
from transhash.evaluation.band import average_precision_band
from transhash.evaluation.curves import depths_to, radius_curve, ranking_curve
from transhash.evaluation.precision import empty_within, precision_at, precision_within, recall_at

levels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), min_size=1, max_size=4).filter(
    lambda pairs: sum(total for _, total in pairs) > 0
)


def orders(pairs):
    """All orders of the ties, as lists of relevance."""
    groups = [set(permutations([1] * hits + [0] * (total - hits))) for hits, total in pairs]
    for chosen in product(*groups):
        yield [relevant for group in chosen for relevant in group]


def of(pairs):
    return Levels(np.array([[total for _, total in pairs]]), np.array([[hits for hits, _ in pairs]]))


def plain_ap(ranking, depth):
    hits, gains = 0, 0.0
    for rank, relevant in enumerate(ranking[:depth], start=1):
        hits += relevant
        gains += relevant * hits / rank
    return gains / hits if hits else 0.0


@settings(deadline=None, max_examples=60)
@given(levels, st.integers(1, 18))
def test_average_precision_is_the_mean_over_all_orders(pairs, depth):
    expected = np.mean([plain_ap(ranking, depth) for ranking in orders(pairs)])
    assert average_precision(of(pairs), depth)[0] == pytest.approx(expected, abs=1e-12)
    whole = np.mean([plain_ap(ranking, len(ranking)) for ranking in orders(pairs)])
    assert average_precision(of(pairs))[0] == pytest.approx(whole, abs=1e-12)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(levels, st.integers(1, 18))
def test_the_band_is_tight_over_all_orders(pairs, depth):
    for at in (depth, None):
        values = [plain_ap(ranking, at or len(ranking)) for ranking in orders(pairs)]
        worst, best = average_precision_band(of(pairs), at)
        assert worst[0] == pytest.approx(min(values), abs=1e-12)
        assert best[0] == pytest.approx(max(values), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_the_band_of_many_queries_at_once(seed, depth):
    """Levels too long to permute, compared with every possible number of hits before the cut-off."""
    rng = np.random.default_rng(seed)
    total = rng.integers(0, 80, (6, 5))
    relevant = rng.binomial(total, rng.random((6, 1)) ** 3)
    worst, best = average_precision_band(Levels(total, relevant), depth)
    expected = average_precision(Levels(total, relevant), depth)
    assert (worst <= expected + 1e-12).all()
    assert (expected <= best + 1e-12).all()
    for query in range(6):
        low, high = zip(*_extremes(total[query], relevant[query], depth), strict=True)
        assert worst[query] == pytest.approx(min(low), abs=1e-12)
        assert best[query] == pytest.approx(max(high), abs=1e-12)


def _extremes(total, relevant, depth):
    """Yield the AP of relevant items last and first, for every number of hits within the cut-off."""
    late, early, before = [], [], 0
    for size, hits in zip(total.tolist(), relevant.tolist(), strict=True):
        taken = min(size, depth - before)
        if taken < size:
            for drawn in range(max(0, taken - (size - hits)), min(taken, hits) + 1):
                zeros, ones = [0] * (taken - drawn), [1] * drawn
                yield plain_ap(late + zeros + ones, depth), plain_ap(early + ones + zeros, depth)
            return
        late += [0] * (size - hits) + [1] * hits
        early += [1] * hits + [0] * (size - hits)
        before += size
    yield plain_ap(late, depth), plain_ap(early, depth)


@settings(deadline=None, max_examples=60)
@given(levels, st.integers(1, 18), st.integers(0, 5))
def test_precision_and_recall(pairs, depth, radius):
    rankings = list(orders(pairs))
    relevant = sum(hits for hits, _ in pairs)
    assert precision_at(of(pairs), depth)[0] == pytest.approx(np.mean([sum(r[:depth]) / depth for r in rankings]))
    recall = np.mean([sum(r[:depth]) / relevant for r in rankings]) if relevant else 0
    assert recall_at(of(pairs), depth)[0] == pytest.approx(recall)
    inside = pairs[: radius + 1]
    found = sum(total for _, total in inside)
    share = sum(hits for hits, _ in inside) / found if found else 0
    assert precision_within(of(pairs), radius)[0] == pytest.approx(share)
    assert empty_within(of(pairs), radius)[0] == (found == 0)


@settings(deadline=None, max_examples=60)
@given(st.lists(levels, min_size=1, max_size=3), st.lists(st.integers(1, 18), min_size=1, max_size=4))
def test_curves_are_means_over_the_queries(queries, depths):
    padded = [(pairs + [[0, 0]] * 4)[:4] for pairs in queries]
    both = Levels(*(np.array([[pair[side] for pair in pairs] for pairs in padded]) for side in (1, 0)))
    curve = ranking_curve(both, depths)
    assert (curve.name, curve.at.tolist()) == ("ranking", depths)
    rankings = [np.mean(list(orders(pairs)), axis=0) for pairs in padded]  # the probability of a hit at each rank
    for place, depth in enumerate(depths):
        hits = [ranking[:depth].sum() for ranking in rankings]
        assert curve.precision[place] == pytest.approx(np.mean(hits) / depth)
        recall = [hit / max(1, ranking.sum()) for hit, ranking in zip(hits, rankings, strict=True)]
        assert curve.recall[place] == pytest.approx(np.mean(recall))
    curve = radius_curve(both)
    assert (curve.name, curve.at.tolist()) == ("radius", [0, 1, 2, 3])
    for radius in range(4):
        assert curve.precision[radius] == pytest.approx(precision_within(both, radius).mean())
        hits = [sum(hit for hit, _ in pairs[: radius + 1]) for pairs in padded]
        recall = [hit / max(1, ranking.sum()) for hit, ranking in zip(hits, rankings, strict=True)]
        assert curve.recall[radius] == pytest.approx(np.mean(recall))


def test_depths_end_with_the_whole_database():
    assert depths_to(1) == [1]
    assert depths_to(25) == [*range(1, 10), 10, 20, 25]
    assert depths_to(100) == [*range(1, 10), *range(10, 101, 10)]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_scores_without_ties(seed, depth):
    rng = np.random.default_rng(seed)
    scores, labels = rng.permuted(np.arange(90.0).reshape(3, 30), axis=1), rng.integers(0, 3, 30).astype(np.int32)
    query_labels = np.arange(3, dtype=np.int32)
    found = average_precision(score_levels(scores, query_labels, labels), depth)
    for query in range(3):
        ranking = (labels == query)[np.argsort(-scores[query])].tolist()
        assert found[query] == pytest.approx(plain_ap(ranking, depth), abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_equal_scores_are_one_level(seed, values):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, values, (3, 20)) / 8, rng.integers(-1, 2, 20).astype(np.int32)
    found = score_levels(scores, np.array([0, 1, 0], np.int32), labels)
    for query, label in enumerate((0, 1, 0)):
        expected = [
            (int((scores[query] == score).sum()), int(((scores[query] == score) & (labels == label)).sum()))
            for score in sorted(set(scores[query]), reverse=True)
        ]
        pairs = list(zip(found.total[query].tolist(), found.relevant[query].tolist(), strict=True))
        assert pairs == expected + [(0, 0)] * (20 - len(expected))


def codes_of(rng, count, names, labels, digest="d"):
    codes = rng.integers(0, 4, (count, 1), dtype=np.uint8)
    return Codes(codes, Records([b"x"] * count, labels=labels, label_names=names), ModelRef("m", digest, 8))


def names_of(records, row):
    """The label names of a row, from one label or a list padded with -1."""
    return {records.label_names[place] for place in np.atleast_1d(records.labels[row]) if place != -1}


def plain_ranking(queries, database, query, shuffle):
    """Relevance in the order of distance, ties in the order of `shuffle`."""
    distance = np.bitwise_count(queries.packed[query] ^ database.packed[shuffle])[:, 0]
    order = shuffle[np.argsort(distance, kind="stable")]
    asked = names_of(queries.records, query)
    return [bool(asked & names_of(database.records, row)) for row in order]


@pytest.mark.slow
@pytest.mark.parametrize("several", [(), (3,)], ids=["one label", "three labels"])
def test_evaluate_against_a_plain_program(several):
    """Two files with their classes in different orders and unlabelled rows in both."""
    rng = np.random.default_rng(0)
    database = codes_of(rng, 200, ("cat", "dog", "emu"), rng.integers(-1, 3, (200, *several)).astype(np.int32))
    queries = codes_of(rng, 20, ("fox", "emu", "cat"), rng.integers(-1, 3, (20, *several)).astype(np.int32))
    metrics = measure(queries, database, at=50)
    assert list(metrics) == [
        *("mAP@50", "mAP@50 worst", "mAP@50 best", "P@1", "P@10", "P@100", "recall@1", "recall@10", "recall@100"),
        *("P@H<=2", "empty@H<=2"),
    ]
    assert metrics["mAP@50 worst"] < metrics["mAP@50"] < metrics["mAP@50 best"]
    samples = [
        np.mean([plain_ap(plain_ranking(queries, database, query, shuffle), 50) for query in range(20)])
        for shuffle in (rng.permutation(200) for _ in range(100))
    ]
    assert metrics["mAP@50"] == pytest.approx(np.mean(samples), abs=4 * np.std(samples) / 100**0.5)
    assert all(metrics["mAP@50 worst"] <= sample <= metrics["mAP@50 best"] for sample in samples)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.sampled_from([(), (1,), (2,)]), st.sampled_from([(), (4,)]))
def test_legacy_rule_keeps_the_order_of_the_database(seed, depth, asked, stored):
    rng = np.random.default_rng(seed)
    database = codes_of(rng, 60, ("cat", "dog", "emu"), rng.integers(-1, 3, (60, *stored)).astype(np.int32))
    queries = codes_of(rng, 4, ("emu", "fox"), rng.integers(-1, 2, (4, *asked)).astype(np.int32))
    queries.records.labels[0] = 0
    metrics = measure(queries, database, depth, rule="legacy")
    rankings = [plain_ranking(queries, database, query, np.arange(60)) for query in range(4)]
    expected = np.mean([plain_ap(ranking, depth) for ranking in rankings])
    assert metrics.pop(f"mAP@{depth}") == pytest.approx(expected, abs=1e-12)
    others = measure(queries, database, depth)
    assert metrics == {name: value for name, value in others.items() if not name.startswith("mAP")}


def test_queries_without_a_label_count_as_zero():
    rng = np.random.default_rng(0)
    database = codes_of(rng, 50, ("a", "b"), rng.integers(0, 2, 50).astype(np.int32))
    queries = codes_of(rng, 8, ("a", "b"), np.array([0, 1, 0, 1, 0, 1, -1, -1], np.int32))
    labelled = Codes(
        queries.packed[:6],
        Records([b"x"] * 6, labels=queries.records.labels[:6], label_names=("a", "b")),
        queries.model,
    )
    for rule in ("expected", "legacy"):
        some, whole = measure(labelled, database, rule=rule), measure(queries, database, rule=rule)
        for name in some.keys() - {"empty@H<=2"}:
            assert whole[name] == pytest.approx(some[name] * 6 / 8), name


def test_evaluate_rejects_invalid_arguments():
    rng = np.random.default_rng(0)
    labels = np.zeros(5, np.int32)
    good = codes_of(rng, 5, ("a",), labels)
    for other, message in (
        (codes_of(rng, 5, ("a",), labels, digest="e"), "cannot be compared"),
        (codes_of(rng, 5, (), None), "no labels"),
        (codes_of(rng, 5, ("a",), labels - 1), "none of the 5 queries has a label"),
        (codes_of(rng, 0, ("a",), labels[:0]), "nothing to evaluate"),
    ):
        with pytest.raises(MismatchError, match=message):
            measure(other, good)
    with pytest.raises(MismatchError, match="at least 1"):
        measure(good, good, at=0)
    with pytest.raises(MismatchError, match="expected, legacy"):
        measure(good, good, rule="first")


def test_large_counts_keep_their_precision():
    """With 54,000 tied items, AP is that of a random order."""
    total, relevant = 54_000, 5_400
    value = average_precision(Levels(np.array([[total]]), np.array([[relevant]])))[0]
    ranks = np.arange(1, total + 1)
    share = relevant / total
    direct = (share * (1 + (ranks - 1) * (relevant - 1) / (total - 1)) / ranks).sum() / relevant
    assert value == pytest.approx(direct, rel=1e-12)
