"""Text and rows stored in databases and read back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transhash import hamming
from transhash.codes import texts
from transhash.index import scanning

ANY = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.binary() | ANY.map(str.encode))
def test_any_path_is_text_and_comes_back(path):
    stored = texts.text(path)
    assert b"\0" not in stored.encode()
    assert texts.path(stored) == path


@given(ANY)
def test_any_label_is_text_and_comes_back(name):
    stored = texts.label(name)
    assert "\0" not in stored
    assert texts.label_name(stored) == name


@given(st.data(), st.integers(1, 60), st.integers(1, 9), st.integers(0, 16))
def test_codes_in_blocks_of_any_order_are_searched_as_a_whole(data, count, k, radius):
    rng = np.random.default_rng(count)
    codes = rng.integers(0, 4, (count, 2), dtype=np.uint8)
    order = np.array(data.draw(st.permutations(range(count))))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    blocks = [(rows, codes[rows]) for rows in np.split(order, cuts)]
    queries = codes[:3]
    found, expected = scanning.nearest(blocks, queries, k), hamming.top_k(queries, codes, min(k, count))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    inside, wanted = scanning.within(blocks, queries, radius), hamming.within(queries, codes, radius)
    np.testing.assert_array_equal(inside.offsets, wanted.offsets)
    np.testing.assert_array_equal(inside.ids, wanted.ids)
    np.testing.assert_array_equal(inside.distances, wanted.distances)
