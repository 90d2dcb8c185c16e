"""Answers of searches, after they have left their index."""

import copy
import pickle

import numpy as np
import pytest

import transhash
from transhash import Codes, Index, ModelRef, write_codes
from transhash.codes import Records

CODES = np.random.default_rng(0).integers(0, 256, (500, 8), dtype=np.uint8)


@pytest.fixture(params=["memory", "folder"])
def index(request, tmp_path):
    zeros = np.zeros(len(CODES), np.int64)
    records = Records([b"%d.png" % row for row in range(len(CODES))], b"/photos", None, (), zeros, zeros)
    codes = Codes(CODES, records, ModelRef("phash", "", 64))
    if request.param == "memory":
        return Index.build(codes)
    write_codes(tmp_path / "c.h5", codes)
    return transhash.build_index(tmp_path / "c.h5", tmp_path / "i")


def pickled(found):
    return pickle.loads(pickle.dumps(found))  # noqa: S301 - as answers travel between processes


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickled])
def test_copies_hold_their_paths_but_not_the_index(copied, index):
    found = index.search(CODES[:3], 5)
    other = copied(found)
    assert [*other] == [*found]
    assert other.queries == found.queries
    assert other.padded()[1].tolist() == found.padded()[1].tolist()
    assert len(pickle.dumps(other)) < 5000


def test_answers_of_no_queries_have_the_columns_of_others(index):
    for k, columns in ((4, 4), (1000, len(CODES))):
        none, some = (index.kneighbors(CODES[:queries], k) for queries in (0, 2))
        for one, other in zip(none, some, strict=True):
            assert np.concatenate([one, other]).shape == (2, columns)
            assert one.dtype == other.dtype


def test_a_changed_answer_changes_no_other(index):
    first = index.search(CODES[:1], 3)
    first.ids[:] = 0
    first.distances[:] = 0
    assert index.search(CODES[:1], 3).padded()[1].tolist() == index.search(CODES[:2], 3).padded()[1][:1].tolist()
