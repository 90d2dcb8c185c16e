"""The accuracy suite: figures against `th eval`'s, plain numpy and plain FAISS."""

import os

import faiss
import numpy as np
import pytest

from benchmarks.retrieval import Retrieval, hits
from transhash.codes import Codes, ModelRef, Records, StringTable, write_codes
from transhash.evaluation import Levels, hamming_levels, measure, score_levels
from transhash.evaluation.precision import precision_at, recall_at
from transhash.packing import pack
from transhash.report.records import Curve, Skipped, TableRow, read

pytestmark = pytest.mark.slow

BITS, DIM = 16, 24
METHODS = (
    *("TransHash", "TransHash, then embeddings", "float embedding", "PQ", "OPQ", "SQ, 4 bits", "PCA, int8"),
    *("PCA, float16", "RaBitQ", "ITQ", "LSH"),
)


def made(count, seed, name):
    """Codes and embeddings around five centres, one a class."""
    rng = np.random.default_rng(9)
    centres, planes = rng.standard_normal((5, DIM)), rng.standard_normal((BITS, DIM))
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=count).astype(np.int32)
    vectors = centres[labels] + 0.9 * rng.standard_normal((count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = StringTable.of([b"/nowhere/%s%d.png" % (name, row) for row in range(count)])
    records = Records(paths, labels=labels, label_names=tuple("abcde"))
    codes = pack(vectors @ planes.T)
    return Codes(
        codes, records, ModelRef("some/h.safetensors", "d" * 64, BITS), embeddings=vectors.astype(np.float16)
    )


@pytest.fixture(scope="module")
def sides():
    return made(30, 1, b"q"), made(400, 2, b"d")


@pytest.fixture(scope="module")
def files(sides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    for name, codes in zip(("queries.h5", "database.h5"), sides, strict=True):
        write_codes(folder / name, codes)
    return folder / "database.h5", folder / "queries.h5"


@pytest.fixture(scope="module")
def results(files, invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("accuracy")
    (folder / "own.toml").write_text("candidates = [20, 1000]\n")
    own = ("--config", folder / "own.toml", "--codes", *files, "--name", "five", "-o", folder / "accuracy.jsonl")
    assert invoke("accuracy", *own).exit_code == 0
    before = (folder / "accuracy.jsonl").read_bytes()
    assert invoke("accuracy", *own).exit_code == 0
    assert (folder / "accuracy.jsonl").read_bytes() == before  # nothing is measured twice
    return folder / "accuracy.jsonl"


@pytest.fixture(scope="module")
def rows(results):
    return {row.method: row for row in read(results) if isinstance(row, TableRow)}


def mean_ap(scores, relevant):
    """Average precision without ties, the long way."""
    values = []
    for own, right in zip(scores, relevant, strict=True):
        ranked = right[np.argsort(-own, kind="stable")]
        places = np.flatnonzero(ranked) + 1
        values.append((np.arange(1, len(places) + 1) / places).mean())
    return float(np.mean(values))


def relevant(sides):
    return sides[0].records.labels[:, None] == sides[1].records.labels[None]


def test_every_method_has_a_row_or_a_reason(results, rows):
    assert rows.keys() == set(METHODS)
    skipped = {one.method: one.reason for one in read(results) if isinstance(one, Skipped)}
    assert skipped.keys() == {"TransHash, asymmetric, 16 bits, hasher h", "perceptual hash, 64 bits"}
    assert all("images" in reason for reason in skipped.values())
    assert {row.dataset for row in rows.values()} == {"five, 400 images"}
    families = {name: row.family for name, row in rows.items()}
    assert families["TransHash"] == families["TransHash, then embeddings"] == "codes"
    assert families["float embedding"] == "float"
    assert families["ITQ"] == families["PQ"] == "peer"


def test_bytes_are_those_of_an_image(rows):
    sizes = {name: row.values["bytes per image"].value for name, row in rows.items()}
    same = ("TransHash", "PQ", "OPQ", "SQ, 4 bits", "PCA, int8", "PCA, float16", "ITQ", "LSH")
    assert {sizes[name] for name in same} == {BITS / 8}
    assert sizes["float embedding"] == 2 * DIM
    assert sizes["TransHash, then embeddings"] == BITS / 8 + 2 * DIM
    assert sizes["RaBitQ"] == BITS / 8 + 8  # and two factors


def test_codes_have_the_figures_of_th_eval(rows, sides):
    expected = measure(*sides)
    values = rows["TransHash"].values
    band = values["mAP@all"]
    assert (band.value, band.low, band.high) == pytest.approx(
        (expected.pop("mAP@all"), expected.pop("mAP@all worst"), expected.pop("mAP@all best"))
    )
    for name, value in expected.items():
        assert values[name].value == pytest.approx(value, abs=1e-6), name


def test_floats_have_the_figures_of_numpy(rows, sides):
    queries, database = (side.embeddings.astype(np.float32) for side in sides)
    scores = queries @ database.T
    values = rows["float embedding"].values
    assert values["mAP@all"].value == pytest.approx(mean_ap(scores, relevant(sides)), abs=1e-4)
    first = np.argsort(-scores, axis=1)[:, :10]
    assert values["P@10"].value == pytest.approx(np.take_along_axis(relevant(sides), first, 1).mean(), abs=1e-3)


def test_reranked_codes_are_the_nearest_codes_in_the_order_of_the_floats(rows, sides):
    queries, database = (side.embeddings.astype(np.float32) for side in sides)
    cosines = queries @ database.T
    apart = np.bitwise_count(sides[0].packed[:, None] ^ sides[1].packed[None]).sum(2, dtype=int)
    right = relevant(sides)
    found = []
    for query in range(len(queries)):
        near = np.sort(apart[query])[19]
        sure = np.flatnonzero(apart[query] < near)
        tied = np.flatnonzero(apart[query] == near)
        first = [  # whichever of the tied become candidates, the order of the database decides: take the mean
            right[query][own[np.argmax(cosines[query][own])]]
            for own in (
                np.append(sure, np.random.default_rng(seed).permutation(tied)[: 20 - len(sure)]) for seed in range(50)
            )
        ]
        found.append(np.mean(first))
    assert rows["TransHash, then embeddings"].values["P@1"].value == pytest.approx(np.mean(found), abs=0.1)
    assert rows["TransHash, then embeddings"].params["candidates"] == 20


@pytest.mark.parametrize(
    ("name", "factory"), [("PQ", "PQ2np"), ("SQ, 4 bits", "PCA4,SQ4"), ("PCA, int8", "PCA2,SQ8")]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_cut_ranks_as_its_reconstruction_does(name, factory, rows, sides):
    """FAISS's own decoder, and Euclidean distances in numpy; rows in the suite's order, as training depends on it."""
    order = np.random.default_rng(0).permutation(400)
    queries, database = (side.embeddings.astype(np.float32) for side in sides)
    index = faiss.index_factory(DIM, factory)
    index.train(database[order])
    decoded = index.sa_decode(index.sa_encode(database[order]))
    scores = -((queries[:, None].astype(float) - decoded[None].astype(float)) ** 2).sum(axis=2)
    labels = [side.records.labels for side in sides]
    levels = score_levels(np.round(scores, 5), labels[0], labels[1][order])
    retrieval = Retrieval(None, hamming=False)
    retrieval.add(levels)
    assert rows[name].values["mAP@all"].value == pytest.approx(retrieval.mean, abs=2e-3)


def test_pca_int8_is_worse_than_the_floats_and_better_than_chance(rows):
    maps = {name: row.values["mAP@all"].value for name, row in rows.items()}
    assert all(0.2 < value <= 1 for value in maps.values())
    assert maps["float embedding"] > maps["LSH"]


def test_curves_end_at_the_whole_database(results):
    curves = [one for one in read(results) if isinstance(one, Curve)]
    assert len(curves) == 2 * len(METHODS)
    for curve in curves:
        if curve.x == "recall":
            recalls = [x for x, _ in curve.points]
            assert recalls == sorted(recalls)
            assert recalls[-1] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_hits_are_those_of_the_metrics(seed):
    rng = np.random.default_rng(seed)
    total = rng.integers(0, 4, (6, 12)) * rng.integers(0, 2, (6, 12))
    total[:, 0] += 40 - total.sum(axis=1)
    levels = Levels(total, rng.integers(0, total + 1))
    depths = [1, 2, 5, 10, 39, 40]
    found = hits(levels, depths)
    for column, depth in enumerate(depths):
        assert found[:, column] / depth == pytest.approx(precision_at(levels, depth))
        whole = np.maximum(1, levels.relevant.sum(axis=1))
        assert found[:, column] / whole == pytest.approx(recall_at(levels, depth))


def test_blocks_of_queries_add_up(sides):
    levels = hamming_levels(*sides)
    whole, parts = Retrieval(50, hamming=True), Retrieval(50, hamming=True)
    whole.add(levels)
    for start in range(0, 30, 7):
        parts.add(Levels(levels.total[start : start + 7], levels.relevant[start : start + 7]))
    for name, figure in whole.figures().items():
        assert parts.figures()[name].value == pytest.approx(figure.value)
    assert "mAP@50" in whole.figures()


def test_files_without_embeddings_are_one_line(invoke, sides, tmp_path):
    bare = Codes(sides[0].packed, sides[0].records, sides[0].model)
    write_codes(tmp_path / "bare.h5", bare)
    done = invoke("accuracy", "--codes", tmp_path / "bare.h5", tmp_path / "bare.h5", "-o", tmp_path / "r")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {tmp_path / 'bare.h5'}: no embeddings")
    assert sorted(os.listdir(tmp_path)) == ["bare.h5"]
