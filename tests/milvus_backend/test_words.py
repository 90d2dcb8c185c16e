"""What is said to Milvus, without a server."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pymilvus", reason="no package pymilvus")

from milvus_backend import expressions
from milvus_backend.contents import Contents, Load, State
from milvus_backend.location import Location
from transhash.codes import ModelRef
from transhash.errors import BackendError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS, TEXTS | st.sampled_from(["\ud7ff", "\U0010ffff", "a\U0010ffff"]), TEXTS)
def test_a_prefix_is_an_interval(prefix, text, rest):
    prefix = "/" + prefix
    begin, end = expressions.interval(prefix)
    for one in (text, prefix + rest, "/" + text):
        inside = begin.encode() <= one.encode() < end.encode()
        assert inside == one.startswith(prefix)


@pytest.mark.parametrize("pattern", ["*.png", "cats*", "a/?/*", "a/[b]*", "a/b", os.fsdecode(b"a/\xc3*")])
def test_the_client_applies_filters_that_milvus_cannot(pattern):
    assert expressions.matching(["a/*", pattern], b"/pictures") is None


@pytest.mark.parametrize("uri", ["http://localhost:19530", "https://m.example:443", "http://[::1]:19530"])
def test_locations_come_back(uri):
    location = Location.of(uri, "photos")
    assert location.uri == uri
    assert Location.parse(str(location)) == location


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("localhost:19530", "photos"),
        ("ftp://localhost", "photos"),
        ("http://localhost:x", "photos"),
        ("http://u:secret@localhost", "photos"),
        ("http://localhost/db", "photos"),
        ("http://localhost", "9photos"),
        ("http://localhost", "pho-tos"),
        ("http://localhost", ""),
    ],
)
def test_other_locations_are_refused(uri, name):
    with pytest.raises(BackendError) as refused:
        Location.of(uri, name)
    assert "secret" not in str(refused.value)


def test_contents_and_state_come_back():
    contents = Contents(
        ModelRef("h.safetensors", "d" * 64, 64, '{"size": 224}'), "ivf", {"nlist": 4, "nprobe": 2}, "/pictures/ü"
    )
    assert Contents.read(contents.dump(), "here") == contents
    state = State(5, ("a",)).begin(Load("add", "c.h5", "b", 5, 7))
    assert State.read({"transhash.state": state.dump()}, "here") == state
    assert state.end() == State(12, ("a", "b"))


OURS = '{"format": "transhash-collection", "version": 0'


@pytest.mark.parametrize(
    "description",
    ["", "[]", "{}", OURS, OURS + "}", OURS + ', "type": [], "params": {}, "root": "", "model": {}}', "[" * 9999],
)
def test_other_collections_are_rejected(description):
    with pytest.raises(BackendError, match=r"not a collection of TransHash|is damaged"):
        Contents.read(description, "here")


def test_a_later_version_is_refused():
    with pytest.raises(BackendError, match="format version 1, this TransHash reads 0"):
        Contents.read('{"format": "transhash-collection", "version": 1}', "here")


def test_only_the_plugin_imports_pymilvus():
    for path in (Path(__file__).parents[2] / "transhash").rglob("*.py"):
        assert "pymilvus" not in path.read_text()
