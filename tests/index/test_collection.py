"""Index folders keep the contract of collections with every backend."""

import re

import numpy as np
import pytest

import transhash
from transhash.codes import ModelRef, Records
from transhash.errors import BackendError, IndexFolderError
from transhash.testing import CollectionContract


class OfFolder(CollectionContract):
    type: str | None = None

    def build(self, codes, place):
        return transhash.build_index(codes, place / "index", type=self.type)


class TestExact(OfFolder):
    type = "exact"


class TestInMemory(OfFolder):
    test_changes = None  # type: ignore[assignment] # opens the collection again

    def build(self, codes, place):
        return transhash.build_index(codes)


class TestFlat(OfFolder):
    type = "flat"


class TestIvf(OfFolder):
    type = "ivf"
    search_params = {"nprobe": 1_000_000}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["index", "tune"], "on a server, pass --nprobe to th query instead"),
        (["index", "merge", "-o", "x.index"], "add codes files to a server with th index add"),
    ],
)
def test_what_servers_cannot_do_is_said_before_they_are_asked(th, arguments, why):
    done = th(*arguments, "milvus://localhost:1/photos", code=2)
    assert f"only for index folders; {why}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_server_must_be_installed(th, tmp_path):
    codes = transhash.Codes(np.zeros((1, 8), np.uint8), Records([b"a.png"]), ModelRef("phash", "digest", 64))
    transhash.write_codes(tmp_path / "c.h5", codes)
    done = th("index", "build", "c.h5", "-o", "none://user:secret@localhost/photos", cwd=tmp_path, code=1)
    assert re.fullmatch(r"Error: server 'none' is not installed; available: .*milvus.*\n", done.stderr)


@pytest.mark.parametrize("arguments", [["index", "merge", "-o", "y"], ["index", "tune"]])
def test_no_command_prints_a_password(th, tmp_path, arguments):
    done = th(*arguments, "milvus://root:hunter2@127.0.0.1:1/x", cwd=tmp_path, code=2)
    assert "hunter2" not in done.stderr
    assert "milvus://…@127.0.0.1:1/x: only for index folders" in done.stderr


def test_no_such_folder(tmp_path):
    with pytest.raises(IndexFolderError, match="no such index folder"):
        transhash.open(tmp_path / "none")


def test_a_server_that_is_not_installed_is_named():
    with pytest.raises(BackendError, match=r"server 'none' is not installed; available: .*milvus"):
        transhash.open("none://localhost/photos")


def test_a_server_maps_nothing():
    with pytest.raises(BackendError, match="only an index folder can be mapped"):
        transhash.open("milvus://localhost/photos", mmap=True)
