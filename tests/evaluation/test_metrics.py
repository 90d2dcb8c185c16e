from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.codes import Codes, ModelRef, Records
from transhash.errors import MismatchError
from transhash.evaluation import Levels, evaluate, score_levels
from transhash.evaluation.average_precision import average_precision
from transhash.evaluation.precision import precision_at, precision_within, recall_at

levels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), min_size=1, max_size=4).filter(
    lambda pairs: sum(total for _, total in pairs) > 0
)


def orders(pairs):
    """Every order in which the ties could fall, as lists of relevance."""
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


def codes_of(rng, count, names, labels, digest="d"):
    codes = rng.integers(0, 4, (count, 1), dtype=np.uint8)
    return Codes(codes, Records([b"x"] * count, labels=labels, label_names=names), ModelRef("m", digest, 8))


def test_evaluate_against_a_plain_program():
    """Two files that name their classes in another order, with unlabelled rows in the database."""
    rng = np.random.default_rng(0)
    database = codes_of(rng, 200, ("cat", "dog", "emu"), rng.integers(-1, 3, 200).astype(np.int32))
    queries = codes_of(rng, 20, ("fox", "emu", "cat"), rng.integers(0, 3, 20).astype(np.int32))
    metrics = evaluate(queries, database, at=50)
    assert list(metrics) == ["mAP@50", "P@1", "P@10", "P@100", "recall@1", "recall@10", "recall@100", "P@H<=2"]
    samples = []
    for _ in range(300):
        shuffle = rng.permutation(200)
        total = []
        for query in range(20):
            distance = np.bitwise_count(queries.codes[query] ^ database.codes[shuffle])[:, 0]
            order = shuffle[np.argsort(distance, kind="stable")]
            name = queries.records.label(query)
            total.append(plain_ap([database.records.label(row) == name for row in order], 50))
        samples.append(np.mean(total))
    assert metrics["mAP@50"] == pytest.approx(np.mean(samples), abs=4 * np.std(samples) / 300**0.5)


def test_evaluate_refuses():
    rng = np.random.default_rng(0)
    labels = np.zeros(5, np.int32)
    good = codes_of(rng, 5, ("a",), labels)
    for other, message in (
        (codes_of(rng, 5, ("a",), labels, digest="e"), "cannot be compared"),
        (codes_of(rng, 5, (), None), "no labels"),
        (codes_of(rng, 5, ("a",), labels - 1), "5 of 5 queries have no label"),
        (codes_of(rng, 0, ("a",), labels[:0]), "nothing to evaluate"),
    ):
        with pytest.raises(MismatchError, match=message):
            evaluate(other, good)
    with pytest.raises(MismatchError, match="at least 1"):
        evaluate(good, good, at=0)


def test_large_counts_keep_their_precision():
    """54,000 items, all tied: AP is that of a random order."""
    total, relevant = 54_000, 5_400
    value = average_precision(Levels(np.array([[total]]), np.array([[relevant]])))[0]
    ranks = np.arange(1, total + 1)
    share = relevant / total
    direct = (share * (1 + (ranks - 1) * (relevant - 1) / (total - 1)) / ranks).sum() / relevant
    assert value == pytest.approx(direct, rel=1e-12)
