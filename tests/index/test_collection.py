"""Folders keep the contract of collections, whatever searches in them."""

import pytest

from transhash.codes import read_codes
from transhash.errors import BackendError, IndexFolderError
from transhash.index import collection
from transhash.index.index import Index
from transhash.testing import CollectionContract


class OfFolder(CollectionContract):
    backend = "faiss"
    type = None

    def build(self, codes, place):
        Index.build(read_codes(codes), self.backend, self.type).save(place / "index")
        return collection.open(place / "index")


class TestExact(OfFolder):
    backend = "exact"


class TestFlat(OfFolder):
    type = "flat"


class TestIvf(OfFolder):
    type = "ivf"
    search_params = {"nprobe": 1_000_000}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["index", "tune"], "a server takes --nprobe of th query"),
        (["index", "merge", "-o", "x.index"], "th index add takes codes files to a server"),
        (["dedup", "--radius", 3], "the codes file that a server was filled from will do"),
    ],
)
def test_what_servers_cannot_do_is_said_before_they_are_asked(th, arguments, why):
    done = th(*arguments, "milvus://localhost:1/photos", code=2)
    assert f"only for index folders; {why}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_index_is_a_folder_or_on_a_server(th, tmp_path):
    (tmp_path / "c.h5").touch()
    for place in ([], ["-o", "x", "--uri", "http://localhost"], ["--uri", "http://localhost"]):
        assert "say where to" in th("index", "build", "c.h5", *place, cwd=tmp_path, code=2).stderr
    unknown = ["--backend", "faiss", "--uri", "http://localhost", "--collection", "c"]
    assert (
        "server 'faiss' is not installed; there are: milvus"
        in th("index", "build", "c.h5", *unknown, cwd=tmp_path, code=1).stderr
    )


def test_no_such_folder(tmp_path):
    with pytest.raises(IndexFolderError, match="not an index folder"):
        collection.open(tmp_path / "none")


def test_a_server_that_is_not_installed_is_named():
    with pytest.raises(BackendError, match=r"server 'none' is not installed; there are: milvus"):
        collection.open("none://localhost/photos")


def test_a_server_maps_nothing():
    with pytest.raises(BackendError, match="only a folder can be mapped"):
        collection.open("milvus://localhost/photos", mmap=True)
