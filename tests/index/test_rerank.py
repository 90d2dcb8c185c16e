"""Re-ranking compared with sorting, using numbers whose sums are exact, so that ties are exact."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import Codes, hamming, load_hasher, read_codes, write_codes
from transhash.codes import ModelRef, Records
from transhash.encoding.outputs import encode_with_outputs
from transhash.errors import CodesError, MismatchError, ModelError
from transhash.hashers.transhash import TransHasher
from transhash.index import local, rerank
from transhash.index.local import LocalIndex
from transhash.packing import pack, unpack
from transhash.results import NO_DISTANCE, NO_ID, Nearest

MODEL = ModelRef("m", "d", 16)
CORNERS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [2, 0, 0, 0], [0, 0, 0, -2], [-1, -1, 1, 1]], np.float16)


def some(seed, count=40, values=4):
    """Packed codes of 16 bits, some of them equal, and outputs of 5 queries in multiples of 1/8."""
    rng = np.random.default_rng(seed)
    distinct = rng.integers(0, 256, (values, 2), dtype=np.uint8)
    codes = distinct[rng.integers(0, values, count)]
    outputs = (rng.integers(-16, 17, (5, 16)) / 8).astype(np.float32)
    return codes, outputs


def unfilled(found, rng):
    """Matches in which some queries have fewer than k results."""
    ids, distances = found.ids.copy(), found.distances.copy()
    for query in range(len(ids)):
        end = rng.integers(0, ids.shape[1] + 1)
        ids[query, end:], distances[query, end:] = NO_ID, NO_DISTANCE
    return Nearest(ids, distances)


def check(ranked, found, scored):
    """Check that matches are sorted by (score, distance, id), with the score `scored(query, id)`."""
    for query in range(len(found)):
        ids, distances = found.row(query)
        pairs = zip(ids.tolist(), distances.tolist(), strict=True)
        plain = sorted((-scored(query, row), distance, row) for row, distance in pairs)
        got, bits = ranked.row(query)
        assert list(zip(bits.tolist(), got.tolist(), strict=True)) == [pair[1:] for pair in plain]
        assert ranked.scores[query, : len(got)] == pytest.approx([-score for score, _, _ in plain])
        assert (ranked.ids[query, len(got) :] == NO_ID).all()
        assert (ranked.distances[query, len(got) :] == NO_DISTANCE).all()
        assert (ranked.scores[query, len(got) :] == -np.inf).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 20), st.booleans())
def test_asymmetric_is_the_order_of_inner_products(seed, k, values, short):
    codes, outputs = some(seed, values=values)
    found = hamming.top_k(pack(outputs), codes, k)
    if short:
        found = unfilled(found, np.random.default_rng(seed))
    signs, lengths = unpack(codes).astype(float), np.abs(outputs).sum(axis=1).astype(float)
    ranked = rerank.asymmetric(found, outputs, codes)
    check(ranked, found, lambda query, row: float(outputs[query] @ signs[row]) / max(lengths[query], 1e-300))
    assert ranked.scores.dtype == np.float64


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_cosine_is_the_order_of_cosines(seed, k, short):
    codes, outputs = some(seed)
    rng = np.random.default_rng(seed)
    vectors, queries = CORNERS[rng.integers(0, 5, 40)], CORNERS  # norm 2, so that all cosines are exact
    found = hamming.top_k(pack(outputs), codes, k)
    if short:
        found = unfilled(found, rng)
    check(rerank.cosine(found, queries, vectors), found, lambda query, row: float(queries[query] @ vectors[row]) / 4)


def test_a_code_has_one_score_wherever_it_stands():
    rng = np.random.default_rng(0)
    for bits in (8, 64, 1000):
        codes = rng.integers(0, 256, (300, bits // 8), dtype=np.uint8)
        output = rng.standard_normal(bits).astype(np.float32)
        scores = rerank.asymmetric_scores(output, codes)
        np.testing.assert_allclose(scores, unpack(codes) @ output / np.abs(output).sum(), atol=1e-6)
        assert [rerank.asymmetric_scores(output, code[None])[0] for code in codes] == scores.tolist()
        assert rerank.asymmetric_scores(output, pack(output[None])) == pytest.approx(1)
    assert rerank.asymmetric_scores(np.zeros(8, np.float32), codes[:3, :1]).tolist() == [0, 0, 0]


def test_cosine_does_not_ask_for_unit_length():
    rng = np.random.default_rng(0)
    vectors, query = rng.standard_normal((50, 7)), rng.standard_normal(7)
    expected = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    np.testing.assert_allclose(rerank.cosine_scores(query, vectors * rng.random((50, 1))), expected, atol=1e-6)
    assert rerank.cosine_scores(query, np.zeros((2, 7))).tolist() == [0, 0]


def test_first():
    codes, outputs = some(0)
    ranked = rerank.asymmetric(hamming.top_k(pack(outputs), codes, 9), outputs, codes)
    for part in ("ids", "distances", "scores"):
        np.testing.assert_array_equal(getattr(ranked.first(4), part), getattr(ranked, part)[:, :4])
    assert [rerank.candidates(k) for k in (1, 10, 11, 1000)] == [100, 100, 110, 10_000]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none(bad):
    codes, outputs = some(0)
    found = hamming.top_k(pack(outputs), codes, 3)
    broken = outputs.copy()
    broken[1, 2] = bad
    with pytest.raises(MismatchError, match="NaN or infinit"):
        rerank.asymmetric(found, broken, codes)
    vectors = np.repeat(CORNERS, 8, axis=0)
    vectors[found.ids[0, 0], 1] = bad
    with pytest.raises(MismatchError, match="NaN or infinit"):
        rerank.cosine(found, CORNERS, vectors)
    with pytest.raises(MismatchError, match=r"shape \(5, 8\): expected \(5, 16\)"):
        rerank.asymmetric(found, outputs[:, :8], codes)
    with pytest.raises(MismatchError, match=r"shape \(4, 16\)"):
        rerank.asymmetric(found, outputs[1:], codes)


# Over an index


def collection(codes, **more):
    records = Records([b"%d.png" % row for row in range(len(codes))], b"/photos")
    return Codes(codes, records, MODEL, **more)


KINDS = [("exact", None, {}), ("faiss", "flat", {}), ("faiss", "ivf", {"nlist": 3, "nprobe": 3})]


@pytest.mark.parametrize(("backend", "kind", "params"), KINDS)
@pytest.mark.parametrize("span", [2, 1 << 28])
def test_codes_come_from_the_index(backend, kind, params, span, monkeypatch):
    """Codes are found by id, which does not change when other rows are removed; read singly or all at once."""
    monkeypatch.setattr(local, "_SPAN", span)
    codes, outputs = some(3)
    index = LocalIndex.build(collection(codes), backend, kind, params)
    index.remove(np.arange(40) % 3 == 1)
    found = index.search(pack(outputs), 20)
    ranked = rerank.by_outputs(index, found, outputs)
    expected = rerank.asymmetric(found, outputs, codes)  # ids are the original row numbers
    np.testing.assert_array_equal(ranked.ids, expected.ids)
    np.testing.assert_array_equal(ranked.scores, expected.scores)
    nothing = Nearest(np.full((5, 2), NO_ID), np.full((5, 2), NO_DISTANCE, np.int32))
    assert (rerank.by_outputs(index, nothing, outputs).ids == NO_ID).all()


@pytest.fixture(params=["as in the index", "some further", "in another order"])
def stored(request, tmp_path):
    """An index of 40 codes, some of them removed, and a codes file with their embeddings."""
    codes, outputs = some(5)
    vectors = CORNERS[np.random.default_rng(5).integers(0, 5, 40)]
    index = LocalIndex.build(collection(codes))
    gone = np.arange(40) % 4 == 2
    index.remove(gone)
    order = np.random.default_rng(6).permutation(40)
    if request.param != "in another order":
        order = np.sort(order) if request.param == "some further" else np.flatnonzero(~gone)
    records = Records([b"%d.png" % row for row in order], b"/photos")
    write_codes(tmp_path / "c.h5", Codes(codes[order], records, MODEL, (), vectors[order]))
    return index, outputs, vectors, tmp_path / "c.h5"


@pytest.mark.parametrize("held", [1, 200, 1 << 28])
def test_embeddings_come_from_a_codes_file(stored, held, monkeypatch):
    monkeypatch.setattr(rerank, "_HELD", held)
    index, outputs, vectors, path = stored
    found = index.search(pack(outputs), 25)
    ranked = rerank.by_embeddings(index, found, CORNERS, path)
    expected = rerank.cosine(found, CORNERS, vectors)
    for part in ("ids", "distances", "scores"):
        np.testing.assert_array_equal(getattr(ranked, part), getattr(expected, part))


def test_codes_files_that_do_not_fit(stored, tmp_path):
    index, outputs, _, path = stored
    found = index.search(pack(outputs), 30)
    whole = read_codes(path, embeddings=True)
    narrow = whole.embeddings[:, :3]
    few = whole.take(np.array([name != b"4.png" for name in whole.records.paths]))
    for codes, kind, message in (
        (replace(whole, embeddings=None), CodesError, "holds no embeddings; encode the images again, with --emb"),
        (replace(whole, model=ModelRef("other", "e", 16)), MismatchError, "cannot be compared"),
        (few, MismatchError, r"has no row for 1 of 30 candidates, /photos/4.png for one; encode"),
        (replace(whole, embeddings=narrow), MismatchError, r"shape \(5, 4\): expected \(5, 3\)"),
    ):
        write_codes(tmp_path / "other.h5", codes)
        with pytest.raises(kind, match=message):
            rerank.by_embeddings(index, found, CORNERS, tmp_path / "other.h5")
    with pytest.raises(CodesError, match="no such file"):
        rerank.by_embeddings(index, found, CORNERS, tmp_path / "none.h5")


def test_damaged_codes_files(stored):
    index, outputs, _, path = stored
    found, good = index.search(pack(outputs), 30), path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(good), 6):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            rerank.by_embeddings(index, found, CORNERS, path)
        except (CodesError, MismatchError) as error:
            assert "\n" not in str(error)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(CodesError):
        rerank.by_embeddings(index, found, CORNERS, path)


# Hashers and the command


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_outputs_lie_beside_their_codes(pictures, hasher_file, tmp_path, kind):
    """Rows stay aligned if an image between them cannot be read."""
    hasher = TransHasher.load(hasher_file) if kind == "torch" else load_hasher(hasher_file, 1)
    (tmp_path / "broken.png").write_bytes(b"")
    paths = [*sorted(pictures.glob("circle/*.png")), tmp_path / "broken.png", *sorted(pictures.glob("cross/*.png"))]
    codes, outputs = encode_with_outputs(paths, hasher)
    assert (outputs.shape, outputs.dtype, len(codes.skipped)) == ((16, 16), np.dtype("float32"), 1)
    np.testing.assert_array_equal(pack(outputs), codes.packed)


def test_a_hasher_without_outputs(pictures):
    with pytest.raises(ModelError, match="phash has no real-valued output"):
        encode_with_outputs([pictures / "circle" / "0.png"], load_hasher("phash"))


@pytest.fixture(scope="module")
def library(th, pictures, hasher_file, tmp_path_factory):
    """Codes with embeddings, an index of them, and one of perceptual hashes."""
    root = tmp_path_factory.mktemp("library")
    th("encode", pictures, "-o", "c.h5", "--model", hasher_file, "--embeddings", cwd=root)
    th("index", "build", "c.h5", "-o", "i", cwd=root)
    th("encode", pictures, "-o", "p.h5", "--model", "phash", cwd=root)
    th("index", "build", "p.h5", "-o", "p", cwd=root)
    return root


def answers(done):
    return [answer["matches"] for answer in json.loads(done.stdout)["queries"]]


@pytest.mark.slow
def test_query_asymmetric(th, pictures, hasher_file, library):
    images = [pictures / "circle" / "1.png", pictures / "cross" / "2.png"]
    found = answers(th("query", "i", *images, "-k", 20, "--rerank", "asymmetric", "--json", cwd=library))
    codes, outputs = encode_with_outputs(images, load_hasher(hasher_file, 2))
    index = LocalIndex.open(library / "i")
    expected = rerank.by_outputs(index, index.search(codes, 24), outputs).first(20)
    for place, matches in enumerate(found):
        assert [match["id"] for match in matches] == expected.ids[place].tolist()
        assert [match["distance"] for match in matches] == expected.distances[place].tolist()
        assert [match["score"] for match in matches] == pytest.approx(expected.scores[place].tolist(), abs=1e-4)
        assert [match["path"] for match in matches] == [index.path(row) for row in expected.ids[place]]
    few = ["--rerank", "asymmetric", "--candidates", 4, "--json"]
    (best,) = answers(th("query", "i", images[0], "-k", 4, *few, cwd=library))
    plain = index.search(codes.packed[:1], 4)
    assert {match["id"] for match in best} == set(plain.ids[0].tolist())
    (own,) = answers(th("query", "i", images[0], "-k", 20, "--label", "cross", *few, cwd=library))
    assert [match["labels"] for match in own] == [["cross"]] * 8


@pytest.mark.slow
def test_query_by_embeddings(th, pictures, library):
    """Queries from images and from a codes file each find themselves first."""
    images = [pictures / "circle" / "1.png", pictures / "cross" / "2.png"]
    order = ["--rerank", "embeddings", "--embeddings", "c.h5", "-k", 3]
    found = answers(th("query", "i", *images, *order, "--json", cwd=library))
    assert [matches[0]["path"] for matches in found] == [str(image) for image in images]
    assert all(0.99 < matches[0]["score"] <= 1 for matches in found)
    document = json.loads(th("query", "i", "c.h5", *order, "--json", cwd=library).stdout)["queries"]
    assert [answer["matches"][0]["path"] for answer in document] == [answer["query"] for answer in document]
    text = th("query", "i", images[0], *order, cwd=library).stdout.splitlines()
    assert text[1].split() == ["rank", "score", "distance", "label", "path"]
    table = th("query", "i", images[0], *order, "--csv", cwd=library).stdout.splitlines()
    assert table[0] == "query,rank,score,distance,label,path"
    assert "score" not in th("query", "i", images[0], "--csv", cwd=library).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["i", "{image}", "--rerank", "embeddings"], 2, "--rerank embeddings requires --embeddings FILE"),
        (["i", "{image}", "--embeddings", "c.h5"], 2, "--embeddings requires --rerank embeddings"),
        (["i", "{image}", "--candidates", "9"], 2, "--candidates requires --rerank"),
        (["i", "{image}", "--rerank", "asymmetric", "--radius", "3"], 2, "--radius and --rerank cannot be combined"),
        (["i", "c.h5", "--rerank", "asymmetric"], 1, "codes have no real-valued outputs"),
        (["p", "{image}", "--rerank", "asymmetric"], 1, "phash has no outputs or embeddings to re-rank by"),
        (["p", "p.h5", "--rerank", "embeddings", "--embeddings", "p.h5"], 1, "p.h5: no embeddings in it"),
        (["i", "{image}", "--rerank", "embeddings", "--embeddings", "p.h5"], 1, "p.h5: holds no embeddings"),
    ],
)
def test_misuse_gives_one_line(th, pictures, library, arguments, code, message):
    image = str(pictures / "circle" / "1.png")
    done = th("query", *(argument.format(image=image) for argument in arguments), cwd=library, code=code)
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(library)) == ["c.h5", "i", "p", "p.h5"]
