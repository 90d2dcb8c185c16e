"""Methods that search: each, at its most thorough, finds what numpy finds; collections are what they say."""

from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import methods
from benchmarks.collection import BLOCK, Clustered, Grown, codes, nearest_codes, nearest_vectors, unit, write
from benchmarks.methods import METHODS
from transhash.packing import pack

K = 5


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "c", Clustered(32, 16, 20, seed=3), 600, vectors=True)


def apart(collection, over):
    if over == "vectors":
        return -(collection.query_vectors @ np.asarray(collection.vectors).T)
    return np.bitwise_count(collection.query_codes[:, None] ^ np.asarray(collection.codes)).sum(2, dtype=int)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.server])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_thorough_search_finds_what_numpy_finds(name, collection, tmp_path):
    kind = METHODS[name]
    if find_spec(kind.package) is None:
        pytest.skip(methods.missing(kind, ""))
    built = kind(1)
    params = built.build(collection)
    assert all(isinstance(value, int | str) for value in params.values())
    built.save(tmp_path)
    method = kind(1)
    method.load(tmp_path)
    queries = collection.query_vectors if kind.over == "vectors" else collection.query_codes
    ids = method.search(queries, K, method.parameter_values()[-1])
    assert ids.shape == (20, K)
    assert ids.dtype == np.int64
    distances = apart(collection, kind.over)
    expected = np.sort(distances, axis=1)[:, :K]
    found = np.where(ids < 0, 10**6, np.take_along_axis(distances, np.maximum(ids, 0), 1))
    assert (found == np.sort(found, axis=1)).all() or kind.over == "vectors"
    recall = (found <= expected[:, -1:] + 1e-5).mean()
    lossy = {
        "float IVF-PQ": 0.03,  # two bytes
        "float IVF-RaBitQ": 0.3,
        "FAISS BinaryMultiHash": 0.6,
    }
    assert recall >= lossy.get(name, 0.99), recall
    assert (method.search(queries[:1], K, method.parameter_values()[-1]) >= 0).any()


def test_exact_searches_are_those_of_numpy(collection):
    distances = apart(collection, "codes")
    assert (nearest_codes(collection, K) == np.sort(distances, axis=1)[:, :K]).all()
    cosines = -apart(collection, "vectors")
    ids, best = nearest_vectors(collection, K)
    assert best == pytest.approx(np.sort(cosines, axis=1)[:, ::-1][:, :K], abs=1e-6)
    assert np.take_along_axis(cosines, ids, 1) == pytest.approx(best, abs=1e-6)


def test_a_method_that_is_not_there_is_named():
    with pytest.raises(methods.ResultsError, match="no method 'x'; available: TransHash flat"):
        methods.find("x")
    assert "no server" in methods.missing(METHODS["Milvus BIN_FLAT"], "") or find_spec("pymilvus") is None


@pytest.fixture(scope="module")
def grown():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((12, 24)).astype(np.float32)
    rows = unit(centres[rng.integers(12, size=900)] + 0.3 * rng.standard_normal((900, 24)).astype(np.float32))
    true = rng.standard_normal((16, 24)).astype(np.float32)
    return Grown("given", rows[:800], pack(rows[:800] @ true.T), rows[800:], 16, seed=0), rows[:800]


def test_codes_are_the_signs_of_planes_through_the_vectors(grown, tmp_path):
    for origin in (grown[0], Clustered(16, 24, 5, seed=0)):
        made = write(tmp_path / origin.name, origin, 1500, vectors=True)
        for packed, vectors in ((made.codes, made.vectors), (made.query_codes, made.query_vectors)):
            assert (packed == np.packbits(vectors @ origin.planes.T + origin.offsets > 0, axis=1)).all()
            assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_grown_collection_holds_the_given_rows_first_and_others_like_them(grown):
    origin, rows = grown
    block = origin.block(0)
    assert block.shape == (BLOCK, 16)
    assert len(np.unique(block[:5000], axis=0)) == 5000
    centred = rows - rows.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:16]
    expected = unit(centred @ directions.T)
    given = block[:800]
    assert np.sort(given @ given.T, axis=None) == pytest.approx(np.sort(expected @ expected.T, axis=None), abs=1e-4)
    assert 0.9 < origin.reproduced <= 1
    near, own = origin.differing()
    assert own == pytest.approx(near, rel=0.35)  # as far from its origin as neighbours are from each other
    far = np.bitwise_count(codes(origin, block[:400]) ^ codes(origin, block[400:800])).sum() / (400 * 16)
    assert own < far / 2


def test_the_same_block_is_the_same_every_time(grown):
    for origin in (grown[0], Clustered(16, 24, 5, seed=0)):
        assert (origin.block(3)[:100] == origin.block(3)[:100]).all()
        assert (origin.block(3)[:100] != origin.block(2)[:100]).any()
