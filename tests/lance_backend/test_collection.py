"""Collections in LanceDB folders; object stores differ only in their address."""

import os
import signal
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

import transhash
from transhash import Filter, hamming
from transhash.codes import Codes, ModelRef, Records, write_codes
from transhash.errors import BackendError, SelectionError
from transhash.testing import CollectionContract

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("lancedb"), reason="no package lancedb: pip install '.[lance]'"),
]

MODEL = ModelRef("phash", "phash-dct-64", 64)


def written(path, codes, names=None):
    paths = names or [f"{row % 7}/{row}.png".encode() for row in range(len(codes))]
    write_codes(path, Codes(codes, Records(paths, b"/pictures"), MODEL))
    return path


def random_codes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8), dtype=np.uint8)


class TestFlat(CollectionContract):
    options: dict[str, object] = {"type": "flat"}

    def build(self, codes, place):
        return transhash.build_index(codes, f"lance://{place}/db/photos", **self.options)


class TestIvf(TestFlat):
    options = {"type": "ivf", "params": {"nlist": 4, "nprobe": 4}}

    @pytest.fixture(autouse=True)
    def _indexed(self, monkeypatch):
        monkeypatch.setattr("lance_backend.collection.SCANNED", 0)

    def test_names_from_anywhere(self):
        """Skip the inherited test, which does not depend on the index type."""

    def test_refuses_what_makes_no_sense(self):
        """Skip the inherited test, which does not depend on the index type."""


def test_the_commands_work_as_with_folders(th, tmp_path):
    codes = random_codes(24)
    written(tmp_path / "c.h5", codes)
    written(tmp_path / "new.h5", random_codes(3, 1), [b"x", b"y", b"z"])
    location = "lance://db/photos"
    assert (
        f"wrote {location}: lance flat, 24 codes of 64 bits"
        in th("index", "build", "c.h5", "-o", location, cwd=tmp_path).stderr
    )
    assert (tmp_path / "db" / "photos.lance").is_dir()
    assert "added 3 images" in th("index", "add", location, "new.h5", cwd=tmp_path).stderr
    assert "removed 1 image" in th("index", "remove", location, "--path", "/pictures/y", cwd=tmp_path).stderr
    assert "3  " in th("query", location, "c.h5", "-k", 2, cwd=tmp_path).stdout
    synced = th("index", "sync", location, "c.h5", cwd=tmp_path)
    assert ": 0 images added, 2 removed, 0 changed; 24 now" in synced.stderr
    th("index", "export", location, "-o", "back.h5", cwd=tmp_path)
    np.testing.assert_array_equal(transhash.read_codes(tmp_path / "back.h5").packed, codes)
    assert th("index", "verify", location, cwd=tmp_path).returncode == 0
    assert "no such collection" in th("index", "info", "lance://db/none", cwd=tmp_path, code=1).stderr


def test_ids_are_never_used_twice(tmp_path):
    made = transhash.build_index(written(tmp_path / "c.h5", random_codes(5)), f"lance://{tmp_path}/db/photos")
    made.remove(Filter(ids=[4]))
    made.add(written(tmp_path / "d.h5", random_codes(1, 2), [b"new"]))
    assert made.search(random_codes(1, 2), 1).ids.tolist() == [5]


def test_several_files_are_added_as_one_version(tmp_path):
    names = [[b"%d-%d" % (file, row) for row in range(4)] for file in range(3)]
    files = [written(tmp_path / f"{place}.h5", random_codes(4, place), own) for place, own in enumerate(names)]
    mixed = written(tmp_path / "mixed.h5", random_codes(4, 9), [names[0][1], names[2][2], b"new", b"other"])
    here = transhash.build_index(files[0], tmp_path / "folder.index")
    there = transhash.build_index(files[0], f"lance://{tmp_path}/db/photos")
    before = there.info()["version"]
    for parts in ([files[1], files[2], mixed], [files[1], files[1]]):
        with pytest.raises(SelectionError, match="in the collection already; pass --replace"):
            there.add(parts)
    assert there.info()["version"] == before
    assert here.add([*files, mixed], replace=True) == there.add([*files, mixed], replace=True)
    assert there.info()["version"] == before + 2
    (ids, codes), (expected_ids, expected) = there.snapshot(), here.snapshot()
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(codes.packed, expected.packed)
    assert list(codes.records.full_paths()) == list(expected.records.full_paths())
    assert there.info()["next_id"] == here.info()["next_id"] == 20


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ('{"format": 7}', "format version 7, this TransHash reads 0; upgrade it"),
        ("[" * 100_000, "metadata are damaged"),
        ('{"format": 0, "model": {"name": "m", "digest": "d", "bits": "64"}}', "metadata are damaged"),
        (
            '{"format": 0, "model": {"name": "m", "digest": "d", "bits": 64}, "type": "ivf", "params": {}, '
            '"root": "", "next_id": 9, "source": ""}',
            "type 'ivf' with parameters {}",
        ),
    ],
)
def test_damaged_metadata(tmp_path, metadata, message):
    from lance_backend.location import Location
    from lance_backend.store import Contents

    with pytest.raises(BackendError, match=message) as damaged:
        Contents.read(metadata.encode(), Location.parse(f"lance://{tmp_path}/photos"))
    assert "\n" not in str(damaged.value)


def test_more_ties_than_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("lance_backend.collection.SCANNED", 0)
    codes = np.zeros((3000, 8), np.uint8)
    codes[1000:] = random_codes(2000)
    place = f"lance://{tmp_path}/db/ties"
    made = transhash.build_index(written(tmp_path / "c.h5", codes[::-1]), place, type="ivf")
    assert made.info()["nlist"] > 1
    found, expected = made.search(np.zeros((1, 8), np.uint8), 5), hamming.top_k(codes[:1], codes[::-1], 5)
    np.testing.assert_array_equal(found.ids, expected.ids[0])


def test_foreign_tables_are_not_changed(tmp_path):
    import lancedb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lancedb.connect(tmp_path / "db").create_table("theirs", [{"x": 1}])
    codes = written(tmp_path / "c.h5", random_codes(3))
    for attempt in (transhash.open, lambda place: transhash.build_index(codes, place)):
        with pytest.raises(BackendError, match="not a collection of TransHash, so it was not changed"):
            attempt(f"lance://{tmp_path}/db/theirs")
    place = f"lance://{tmp_path}/db/ours"
    made = transhash.build_index(codes, place)
    assert len(transhash.build_index(codes, place)) == 3
    with pytest.raises(BackendError, match="exists already, built from another file"):
        transhash.build_index(written(tmp_path / "d.h5", random_codes(3, 1)), place)
    with pytest.raises(BackendError, match="as type flat"):
        transhash.build_index(codes, place, type="ivf")
    assert len(made) == 3


LOADER = """
import os, signal, sys, transhash

def killed(done, total):
    if done * 2 >= total * int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

transhash.build_index(sys.argv[1], sys.argv[2], progress=killed)
"""


def test_a_killed_loader_leaves_no_table_or_a_whole_one(forks, tmp_path):
    """Killed when the first, half, or all of the rows have been passed to LanceDB."""
    codes = random_codes(40_000)
    file = written(tmp_path / "c.h5", codes)
    for half in range(3):
        place = f"lance://{tmp_path}/db/killed{half}"
        done = forks.run(LOADER, file, place, half)
        assert done.returncode == -signal.SIGKILL
        made = transhash.build_index(file, place)
        assert len(made) == len(codes)
        assert list(made.verify()) == []


@pytest.mark.parametrize(
    ("text", "database", "name"),
    [
        ("lance://db/photos", "db", "photos"),
        ("lance:///data/db/photos", "/data/db", "photos"),
        ("lance+s3://bucket/db/photos", "s3://bucket/db", "photos"),
    ],
)
def test_locations(text, database, name):
    from lance_backend.location import Location

    location = Location.parse(text)
    assert (location.database, location.name, str(location)) == (database, name, text)


@pytest.mark.parametrize(
    "text", ["lance://photos", "lance://db/", "lance://db/it's", "lance+s3://key:secret@b/db/n", "lance+ftp://b/db/n"]
)
def test_other_locations_are_refused(text):
    from lance_backend.location import Location

    with pytest.raises(BackendError) as refused:
        Location.parse(text)
    assert "secret" not in str(refused.value)


def test_a_damaged_table_is_one_line(tmp_path):
    place = f"lance://{tmp_path}/db/photos"
    transhash.build_index(written(tmp_path / "c.h5", random_codes(9)), place)
    for file in (tmp_path / "db" / "photos.lance" / "data").iterdir():
        os.truncate(file, 10)
    with pytest.raises(BackendError, match="LanceDB says") as damaged:
        transhash.open(place).search(random_codes(1), 1)
    assert "\n" not in str(damaged.value)
