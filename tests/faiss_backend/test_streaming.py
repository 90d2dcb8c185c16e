"""An index written in parts is identical to one built in memory."""

from unittest.mock import patch

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faiss_backend import FaissIndex, blocks
from faiss_backend.kind import FILE
from transhash import hamming


def collection(seed, count, width):
    return np.random.default_rng(seed).integers(0, 8, (count, width), dtype=np.uint8)


class Slices:
    """Codes that support only slicing."""

    def __init__(self, codes):
        self._codes = codes
        self.shape = codes.shape

    def __len__(self):
        return len(self._codes)

    def __getitem__(self, rows):
        assert rows.stop - rows.start <= blocks._BLOCK_ROWS
        return self._codes[rows]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 700),
    st.sampled_from([1, 3, 8, 128]),
    st.sampled_from([("flat", {}), ("ivf", {}), ("ivf", {"nlist": 9, "nprobe": 2}), ("ivf", {"nlist": 5, "M": 4})]),
    st.sampled_from([1, 7, 256, 1000]),
    st.integers(0, 2**32 - 1),
)
def test_the_file_is_the_one_that_is_built_in_memory(tmp_path_factory, count, width, kind, block, seed):
    name, params = kind
    codes, params = (
        collection(seed, count, width),
        {**params, **({"nlist": min(params["nlist"], count)} if "nlist" in params else {})},
    )
    built, streamed = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("streamed")
    FaissIndex.build(codes, type=name, params=params).save(built)
    told = []
    with patch.object(blocks, "_BLOCK_ROWS", block):
        FaissIndex.stream(Slices(codes), streamed, type=name, params=params, advance=told.append)
    assert sum(told) == count
    assert [path.name for path in streamed.iterdir()] == [FILE]
    plain = faiss.read_index_binary(str(streamed / FILE))
    # FAISS writes list sizes in another form if most lists are empty, so it rewrites our file before the files are
    # compared.
    assert faiss.serialize_index_binary(plain).tobytes() == (built / FILE).read_bytes()
    if name == "ivf":
        plain.nprobe = plain.nlist
    queries = codes[:9]
    exact = hamming.top_k(queries, codes, 5)
    np.testing.assert_array_equal(plain.search(queries, exact.ids.shape[1])[0], exact.distances)


@pytest.mark.parametrize("width", [3, 8])
def test_tables_are_those_that_are_built_in_memory(width, tmp_path):
    codes = collection(0, 700, width)
    (tmp_path / "built").mkdir()
    (tmp_path / "streamed").mkdir()
    FaissIndex.build(codes, type="mih").save(tmp_path / "built")
    with patch.object(blocks, "_BLOCK_ROWS", 99):
        index = FaissIndex.stream(Slices(codes), tmp_path / "streamed", type="mih")
    names = sorted(path.name for path in (tmp_path / "built").iterdir())
    assert names == ["index.faiss", "offsets.npy", "rows.npy"]
    for name in names:
        assert (tmp_path / "built" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes()
    np.testing.assert_array_equal(index.search(codes[:9], 50).ids, hamming.top_k(codes[:9], codes, 50).ids)


def test_lists_are_those_of_the_nearest_centroids(tmp_path):
    codes = collection(0, 5000, 8)
    with patch.object(blocks, "_BLOCK_ROWS", 999):
        index = FaissIndex.stream(codes, tmp_path, type="ivf", params={"nlist": 20})
    inverted = index.inverted_lists()
    assert inverted
    centroids, lists = inverted
    np.testing.assert_array_equal(lists, hamming.top_k(codes, centroids, 1).ids[:, 0])
    np.testing.assert_array_equal(index.reconstruct(0, 5000), codes)


@pytest.mark.parametrize("kind", ["hnsw", "hash", "multihash", "BHNSW8"])
def test_other_types_are_built_in_memory_with_progress(kind, tmp_path):
    codes, told = collection(0, 500, 8), []
    with patch.object(blocks, "_BLOCK_ROWS", 99):
        index = FaissIndex.stream(Slices(codes), tmp_path, type=kind, advance=told.append)
    assert sum(told) == len(index) == 500
    assert FaissIndex.load(tmp_path).info() == index.info() == FaissIndex.build(codes, type=kind).info()
    exhaustive = {index.search_parameter().name: index.search_parameter().high}
    np.testing.assert_array_equal(index.search(codes[:9], 5, exhaustive).ids, hamming.top_k(codes[:9], codes, 5).ids)


def test_the_reason_of_a_choice_is_kept(tmp_path):
    codes = collection(0, 50, 8)
    assert FaissIndex.stream(codes, tmp_path, type="auto").reason == FaissIndex.build(codes, type="auto").reason
