import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import transhash
from transhash.codes import ModelRef, Records
from transhash.errors import IndexFolderError, SelectionError
from transhash.index.ids import RowIds

EDITS = st.lists(st.integers(0, 9) | st.integers(0, 2**32 - 1).map(lambda seed: ("keep", seed)), max_size=8)


@given(st.integers(1, 30), EDITS)
def test_equals_a_plain_list(count, edits):
    ids, plain, given_ever = RowIds.first(count), list(range(count)), count
    for edit in edits:
        if isinstance(edit, int):
            ids = ids.extend(edit)
            plain += range(given_ever, given_ever + edit)
            given_ever += edit
        else:
            kept = np.random.default_rng(edit[1]).random(len(plain)) < 0.7
            ids = ids.keep(kept)
            plain = [id for id, stays in zip(plain, kept, strict=True) if stays]
        assert (len(ids), ids.next) == (len(plain), given_ever)
        if not plain:  # only in between: a saved index has at least one row
            continue
        every = np.arange(len(plain))
        np.testing.assert_array_equal(ids.of(every), plain)
        np.testing.assert_array_equal(ids.rows(np.array(plain, np.int64)), every)
        assert len(ids.starts) == 1 + np.count_nonzero(np.diff(plain) != 1)
        for gone in {-1, given_ever, *range(given_ever)} - set(plain):
            with pytest.raises(SelectionError, match=f"id {gone}: not in the index"):
                ids.rows(np.array([gone]))


def test_unfilled_places_stay():
    ids = RowIds.first(5).keep(np.array([False, True, True, False, True]))
    np.testing.assert_array_equal(ids.of(np.array([[0, 2], [1, -1]])), [[1, 4], [2, -1]])
    np.testing.assert_array_equal(ids.keep(np.array([False, True, True])).of(np.array([-1, 0])), [-1, 2])


def test_save_and_load(tmp_path):
    ids = RowIds.first(9).keep(np.arange(9) % 4 > 0).extend(2)
    ids.save(tmp_path / "ids")
    loaded = RowIds.load(tmp_path / "ids", 8, 11)
    np.testing.assert_array_equal(loaded.of(np.arange(8)), [1, 2, 3, 5, 6, 7, 9, 10])


EXTREMES = [-(2**63), -1, 0, 1, 2, 3, 5, 2**62, 2**63 - 1]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(EXTREMES), st.sampled_from(EXTREMES)), max_size=4), st.sampled_from(EXTREMES)
)
def test_what_loads_holds_together(tmp_path_factory, stretches, following):
    """An untrusted file is rejected, or its row ids are unique and less than the next id."""
    path = tmp_path_factory.getbasetemp() / "ids"
    starts, firsts = np.array(stretches, np.int64).reshape(-1, 2).T.copy()
    path.write_bytes(save({"starts": starts, "firsts": firsts}))
    try:
        ids = RowIds.load(path, 4, max(following, 4))
    except IndexFolderError as error:
        assert "\n" not in str(error)
        return
    found = [int(id) for id in ids.of(np.arange(4))]
    assert found == sorted(set(found))
    assert 0 <= found[0] <= found[-1] < ids.next


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        save({"starts": np.zeros(1, np.int64)}),
        save({"starts": np.zeros(1, np.int32), "firsts": np.zeros(1, np.int64)}),
        save({"starts": np.zeros((1, 1), np.int64), "firsts": np.zeros((1, 1), np.int64)}),
        save({"starts": np.zeros(1, np.int64), "firsts": np.zeros(2, np.int64)}),
    ],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "ids").write_bytes(content)
    with pytest.raises(IndexFolderError, match="damaged ids"):
        RowIds.load(tmp_path / "ids", 1, 1)


@pytest.mark.parametrize("id", [1 << 31, (1 << 31) + 5, 1 << 40, (1 << 63) - 2])
def test_a_large_id_is_not_taken_for_another(tmp_path, id):
    """Ids have 64 bits, and a row may have the id 2³¹ - 1."""
    codes = transhash.Codes(np.zeros((2, 8), np.uint8), Records([b"a", b"b"]), ModelRef("m", "d", 64))
    index = transhash.build_index(codes, tmp_path / "i.index")
    index.local.ids = RowIds(np.zeros(1, np.int64), np.array([(1 << 31) - 1]), 2, 1 << 32)
    assert index.path((1 << 31) - 1) == "a"
    if id == 1 << 31:
        assert index.path(id) == "b"
        return
    for call in (index.path, index.labels, index.like):
        with pytest.raises(SelectionError, match=f"id {id}: not in the index"):
            call(id)
    with pytest.raises(SelectionError, match="not in the index"):
        index.path(10**5000)
