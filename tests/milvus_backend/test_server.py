"""Everything that takes a Milvus server: one file, since there can be one server a machine."""

import json
import os
import signal
import time

import numpy as np
import pytest

import transhash
from transhash import hamming
from transhash.codes import Codes, ModelRef, Records, write_codes
from transhash.errors import BackendError, MismatchError
from transhash.index.filters import Filter
from transhash.index.rows import Changes
from transhash.system.progress import silent
from transhash.testing import CollectionContract

pytestmark = pytest.mark.filterwarnings(  # the package milvus leaves sockets to the garbage collector
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

MODEL = ModelRef("phash", "phash-dct-64", 64)


def written(path, codes, names=None, model=MODEL):
    """A codes file with a path for every code."""
    paths = names or [f"{row % 7}/{row}.png".encode() for row in range(len(codes))]
    write_codes(path, Codes(codes, Records(paths, b"/pictures"), model))
    return path


def build(milvus, codes, name, **options):
    return transhash.build_index(codes, milvus.location(name), **options)


class TestFlat(CollectionContract):
    type = "flat"

    @pytest.fixture(autouse=True)
    def _milvus(self, milvus):
        self.milvus = milvus

    def build(self, codes, place):
        return build(self.milvus, codes, f"{self.type}_{time.time_ns()}", type=self.type)


class TestIvf(TestFlat):
    type = "ivf"
    search_params = {"nprobe": 1_000_000}
    # These do not depend on the index.
    test_names_from_anywhere = test_refuses_what_makes_no_sense = None  # type: ignore[assignment]


def test_more_ties_than_milvus_gives(milvus, tmp_path):
    """Of 20,000 rows with three codes the first by (distance, id) are found, and all within a radius."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (3, 8), dtype=np.uint8)[rng.integers(0, 3, 20_000)]
    found = build(milvus, written(tmp_path / "ties.h5", codes), "ties")
    for k in (5, 16_383):
        (distances, ids), expected = found.kneighbors(codes[:2], k), hamming.top_k(codes[:2], codes, k)
        np.testing.assert_array_equal(ids, expected.ids)
        np.testing.assert_array_equal(distances, expected.distances)
    inside, all_inside = found.search(codes[:2], radius=64), hamming.within(codes[:2], codes, 64)
    np.testing.assert_array_equal(inside.ids, all_inside.ids)
    with pytest.raises(BackendError, match="k=16384: Milvus finds from 1 to 16383"):
        found.search(codes[:1], 16_384)


KILLING = """
import os, signal, sys
from milvus_backend import loading
from milvus_backend.server import Server
from transhash_cli.main import main

call, left, victim = Server.call, 2, int(sys.argv.pop(1))
loading.PAGE = 2_000


def killing(server, method, /, **given):
    global left
    if method == "upsert":
        left -= 1
        if left < 0:
            os.kill(victim or os.getpid(), signal.SIGKILL)
    return call(server, method, **given)


Server.call = killing
main()
"""


def test_killed_loaders_and_servers_lose_nothing(milvus, forks, tmp_path, monkeypatch):
    """Kill -9 of the loader, then of the server, each after two requests: the third run has every row, once."""
    monkeypatch.setattr("milvus_backend.loading.PAGE", 2_000)
    codes = np.random.default_rng(0).integers(0, 256, (10_000, 8), dtype=np.uint8)
    file = written(tmp_path / "many.h5", codes)
    command = ["index", "build", file, "-o", milvus.location("killed")]
    assert forks.run(KILLING, 0, *command).returncode == -signal.SIGKILL
    with pytest.raises(BackendError, match=r"index build of many.h5 is under way or was stopped; run it again"):
        transhash.open(milvus.location("killed"))
    assert rows(milvus, "killed") == 4_000
    loader = forks.run(KILLING, milvus.pid, *command, env={"MILVUS_TIMEOUT": "4"})
    milvus.kill()
    milvus.start()
    said = [line for line in loader.stderr.splitlines() if "(event_engine)" not in line]  # gRPC, as it ends
    assert loader.returncode == 1
    assert "Error: milvus://" in said[-1]
    assert "the server does not answer" in said[-1]
    assert [line for line in said[:-1] if not line.endswith("left")] == []  # progress
    assert 4_000 < rows(milvus, "killed") < len(codes)
    found = build(milvus, file, "killed")
    assert found.location == milvus.location("killed")
    assert list(found.verify()) == []
    assert len(found) == len(codes)
    sample = np.arange(0, len(codes), 201)
    assert found.search(codes[sample], 1).ids.tolist() == sample.tolist()
    assert [row.path for row in found.rows(sample)] == [f"/pictures/{row % 7}/{row}.png" for row in sample]


def client(milvus):
    from pymilvus import MilvusClient

    return MilvusClient(milvus.uri, token=os.environ["MILVUS_TOKEN"])


def rows(milvus, name):
    found = client(milvus)
    found.load_collection(name)
    return found.query(name, filter="id >= 0", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]


def test_the_commands_work_as_with_folders(milvus, th, tmp_path):
    codes = np.random.default_rng(0).integers(0, 4, (24, 8), dtype=np.uint8)
    labels = np.arange(24, dtype=np.int32) % 3
    records = Records([f"{row % 3}/{row}.png".encode() for row in range(24)], b"/pictures", labels, ("a", "b", "c"))
    write_codes(tmp_path / "c.h5", Codes(codes, records, MODEL))
    transhash.build_index(tmp_path / "c.h5", tmp_path / "folder.index")
    built = th("index", "build", "c.h5", "-o", milvus.location("photos"), cwd=tmp_path)
    location = milvus.location("photos")
    assert f"wrote {location}: milvus flat" in built.stderr
    asked = ["c.h5", "-k", 5, "--radius", 20, "--glob", "[12]/*", "--label", "b", "--json"]
    here, found = (th("query", at, *asked, cwd=tmp_path) for at in ("folder.index", location))
    assert json.loads(found.stdout)["queries"] == json.loads(here.stdout)["queries"]
    assert transhash.open(location).remove([Filter(globs=["2/*"])]) == 8
    synced = th("index", "sync", location, "c.h5", cwd=tmp_path)
    assert synced.stderr.endswith(": 8 images added, 0 removed, 0 changed; 24 now\n")
    assert transhash.open(location).info()["next_id"] == 32


def test_foreign_tables_are_not_changed(milvus, tmp_path):
    from pymilvus import DataType, MilvusClient

    other = client(milvus)
    schema = MilvusClient.create_schema(description="theirs")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.BINARY_VECTOR, dim=64)
    other.create_collection("foreign", schema=schema)
    other.insert("foreign", [{"id": 1, "v": bytes(8)}])
    codes = written(tmp_path / "c.h5", np.zeros((3, 8), np.uint8))
    for attempt in (lambda: build(milvus, codes, "foreign"), lambda: transhash.open(milvus.location("foreign"))):
        with pytest.raises(BackendError, match="not a collection of TransHash, so it was not changed"):
            attempt()
    assert other.describe_collection("foreign")["description"] == "theirs"
    with pytest.raises(BackendError, match="no such collection"):
        transhash.open(milvus.location("none"))
    ours = build(milvus, codes, "ours")
    assert len(build(milvus, codes, "ours")) == 3
    with pytest.raises(BackendError, match=r"exists already, built from another file than .*d.h5"):
        build(milvus, written(tmp_path / "d.h5", np.ones((3, 8), np.uint8)), "ours")
    with pytest.raises(MismatchError, match="other"):
        build(milvus, written(tmp_path / "e.h5", np.ones((3, 8), np.uint8), model=ModelRef("other", "f", 64)), "ours")
    with pytest.raises(BackendError, match="as type flat"):
        build(milvus, codes, "ours", type="ivf")
    assert len(ours) == 3


def test_interrupted_changes(milvus, tmp_path):
    """An interrupted change is resumed, blocks other writers, and is replaced by a sync."""
    from milvus_backend import changing, loading
    from milvus_backend.contents import Load

    first, second, third = (np.full((30, 8), value, np.uint8) for value in (1, 2, 3))
    names = [[f"{name}{row}".encode() for row in range(30)] for name in "abc"]
    files = [
        written(tmp_path / f"{n[0].decode()}.h5", c, n) for c, n in zip((first, second, third), names, strict=True)
    ]
    found = build(milvus, files[0], "stopped")
    with changing.opened(files[1]) as file:
        begun = Load("add", "b0.h5", file.header.digest, 30, 30)
        found._ledger.begin(begun)
        loading.load(found._server, file, 30, silent, np.arange(30) < 12)
    assert any("add of b0.h5 has not ended" in problem for problem in found.verify())
    with pytest.raises(BackendError, match=r"th index add of b0.h5 is under way or was stopped; run it again"):
        found.add([files[2]])
    with pytest.raises(BackendError, match="under way"):
        found.remove([Filter(ids=[0])])
    assert found.add([files[1]]).rows == 30
    assert found.search(second[:1], 30).ids.tolist() == list(range(30, 60))
    assert found.add([files[1]]).rows == 0  # is there
    found._ledger.begin(Load("add", "x.h5", "x", 60, 30))
    assert found.sync(files[2]) == Changes(30, 60, 0)
    assert found.search(third[:1], 99).ids.tolist() == list(range(90, 120))
    again = written(tmp_path / "again.h5", first, names[2])
    with changing.opened(again) as file:
        found._ledger.begin(Load("replace", "again.h5", file.header.digest, 120, 30))
        loading.load(found._server, file, 120, silent)
    added = found.add([again], replace=True)
    assert (added.rows, added.replaced) == (30, 30)
    assert found.search(third[:1], 99).ids.tolist() == list(range(120, 150))
    assert list(found.verify()) == []


def test_credentials_are_never_shown(milvus, th, tmp_path, monkeypatch):
    codes = written(tmp_path / "c.h5", np.zeros((1, 8), np.uint8))
    command = ["index", "build", codes, "-o", milvus.location("secret")]
    for name, value in {"MILVUS_TOKEN": "", "MILVUS_USER": "root", "MILVUS_PASSWORD": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    done = th(*command, code=1)
    assert done.stderr.endswith("refuses the credentials; set MILVUS_TOKEN, or MILVUS_USER and MILVUS_PASSWORD\n")
    assert "hunter2" not in done.stderr + done.stdout
