import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transhash.codes import Records
from transhash.evaluation import identity, shared_rows

NAMES = ("cat", "żubr", "dog")
rows = st.lists(
    st.tuples(st.binary(min_size=1, max_size=4), st.lists(st.integers(0, 2), max_size=2, unique=True)), max_size=8
)


def records_of(pairs, root=b"/photos"):
    labels = np.array([[*places, -1, -1][:2] for _, places in pairs], dtype=np.int32).reshape(-1, 2)
    return Records([path for path, _ in pairs], root, labels, NAMES)


@pytest.mark.slow
@given(rows, st.randoms())
def test_identity_is_the_digest_of_the_sorted_lines(pairs, random):
    lines = [
        path + b"\t" + b"\x1f".join(sorted(NAMES[place].encode() for place in places)) + b"\n"
        for path, places in pairs
    ]
    expected = hashlib.sha256(b"".join(sorted(lines))).hexdigest()[:12]
    assert identity(records_of(pairs)) == expected
    random.shuffle(pairs)
    assert identity(records_of(pairs, root=b"/elsewhere")) == expected


def test_identity_does_not_depend_on_how_labels_are_stored():
    paths = [b"1.jpg", b"2.jpg", b"3.jpg"]
    one = Records(paths, labels=np.array([0, 1, -1], np.int32), label_names=("a", "b"))
    lists = Records(paths, labels=np.array([[1, -1], [0, -1], [-1, -1]], np.int32), label_names=("b", "a"))
    assert identity(one) == identity(lists)
    bare, unlabelled = Records(paths), Records(paths, labels=np.full(3, -1, np.int32))
    assert identity(bare) == identity(unlabelled)
    assert len({identity(one), identity(bare), identity(Records(paths[:2]))}) == 3


def test_shared_rows_have_the_same_absolute_path():
    queries = Records([b"a/1.jpg", b"2.jpg", b"/other/3.jpg", b"2.jpg", b"4.jpg"], b"/photos")
    database = Records([b"1.jpg", b"../2.jpg", b"/other/3.jpg", b"4.jpg"], b"/photos/a")
    assert shared_rows(queries, database) == 4
    assert shared_rows(queries, Records([], b"/photos")) == 0
    assert shared_rows(queries, queries) == 5
