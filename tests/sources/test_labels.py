import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transhash.sources.labels import MAX_LABELS, folder_labels, label, labels_of

# names in which escapes are likely, and any others
NAMES = (
    st.lists(st.sampled_from([b"\\", b"x", b"5c", b"f", b"\xff", b"\xc3", b"\xa9", b"a"])).map(b"".join) | st.binary()
)


def name_of(text: str) -> bytes:
    """The inverse of `label`, to show that no two names share a label."""
    return re.sub(rb"\\x(5c|[89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), text.encode())


@given(NAMES)
def test_every_name_can_be_told_from_its_label(name):
    assert name_of(label(name)) == name


@given(st.text().filter(lambda text: "\\x" not in text and text.isprintable()))
def test_ordinary_names_are_their_own_labels(text):
    assert label(text.encode()) == text


def test_a_byte_and_the_text_that_shows_it_are_two_labels():
    assert label(b"c\xff") == "c\\xff"
    assert label(b"c\\xff") == "c\\x5cxff"
    assert label(b"C:\\new\\x5z") == "C:\\new\\x5z"


def test_the_label_of_a_path_is_its_first_folder():
    assert folder_labels(b"a/b/c.png") == ("a",)
    for path in (b"c.png", b"../c.png", b"/a/c.png"):
        assert folder_labels(path) == ()


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (None, ()),
        ("", ()),
        (" cat\n", ("cat",)),
        (7, ("7",)),
        (-1, ("-1",)),
        (b"c\xff", ("c\\xff",)),
        ("\ud800", ("\\xed\\xa0\\x80",)),
        ([], ()),
        (["b", "a", "b", ""], ("b", "a")),
        ([1, 2], ("1", "2")),
    ],
)
def test_labels_of_a_field(value, labels):
    assert labels_of(value) == labels


@pytest.mark.parametrize("value", [1.5, {"a": 1}, [["a"]], [None], "x" * 5000, list(range(MAX_LABELS + 1))])
def test_invalid_labels(value):
    with pytest.raises(ValueError, match=r"label"):
        labels_of(value)
