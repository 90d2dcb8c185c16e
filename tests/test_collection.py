"""Folders keep the contract of collections, whatever searches in them."""

import pytest

from transhash import collection
from transhash.codes import read_codes
from transhash.errors import BackendError, IndexFolderError
from transhash.search import Index
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


def test_no_such_folder(tmp_path):
    with pytest.raises(IndexFolderError, match="not an index folder"):
        collection.open(tmp_path / "none")


def test_a_server_that_is_not_installed_is_named():
    with pytest.raises(BackendError, match=r"no server 'none' is installed; there are: milvus"):
        collection.open("none://localhost/photos")


def test_a_server_maps_nothing():
    with pytest.raises(BackendError, match="only a folder can be mapped"):
        collection.open("milvus://localhost/photos", mmap=True)
