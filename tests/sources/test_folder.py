import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.errors import SourceError
from transhash.sources import Item, Skipped, list_images, open_source, passed_over
from transhash.sources.folder import FolderSource
from transhash.sources.labels import folder_labels
from transhash.sources.names import is_image


def make(root, *paths):
    for path in paths:
        full = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        Path(os.fsdecode(full)).write_bytes(path)


def paths(source):
    return [item.path for item in source]


def walked(root: bytes) -> list[bytes]:
    """The images under a folder according to `os.walk`."""
    found = []
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(b"."))
        found += [
            os.path.relpath(os.path.join(parent, name), root)
            for name in sorted(names)
            if is_image(name) and not name.startswith(b".")
        ]
    return found


PART = st.sampled_from([b"a", b"B", b"a b", b"a-", b"\xff", b"e\xcc\x81", b"0", b"~", b".h"])
PATH = st.builds(
    lambda folders, name, suffix: b"/".join([*(part + b"_" for part in folders), name + suffix]),
    st.lists(PART, max_size=4),
    PART,
    st.sampled_from([b".png", b".JPG", b".txt", b""]),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.lists(PATH, max_size=25, unique=True))
def test_every_image_once_in_the_order_of_os_walk(names):
    root = tempfile.mkdtemp()
    try:
        make(root, *names)
        source = FolderSource(root)
        items = list(source)
        assert items == list(source)
        assert [item.path for item in items] == walked(os.fsencode(root))
        assert source.count() == len(items)
        assert source.ignored.total() <= len(names) - len(items)
        everything = FolderSource(root, include_hidden=True)
        assert len(list(everything)) + everything.ignored.total() == len(names)
        for item in items:
            status = os.stat(os.path.join(source.root, item.path))
            assert item == Item(item.path, folder_labels(item.path), None, status.st_size, status.st_mtime_ns)
    finally:
        shutil.rmtree(root)


@pytest.fixture
def shared():
    """A folder that other users may access."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


@contextmanager
def not_as_root():
    """Skip as root, who can read every file."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_skipped_folders_are_reported(shared):
    make(shared, b"b/1.png", b"c/closed/2.png", b"c/3.png")
    (shared / "b" / "around").symlink_to(shared)
    (shared / "b" / "gone.png").symlink_to(shared / "nowhere.png")
    (shared / "c" / "closed").chmod(0)
    with not_as_root():
        found = list(FolderSource(shared))
    assert found == [
        Skipped(b"b/around", "link to a folder: not followed"),
        found[1],
        Skipped(b"b/gone.png", "No such file or directory"),
        found[3],
        Skipped(b"c/closed", "folder: Permission denied"),
    ]
    assert [item.path for item in found[1:4:2]] == [b"b/1.png", b"c/3.png"]


def test_a_folder_that_cannot_be_listed(shared):
    closed = shared / "closed"
    closed.mkdir()
    with pytest.raises(SourceError, match="not a folder"):
        FolderSource(shared / "nowhere")
    source = FolderSource(closed)
    closed.chmod(0)
    with not_as_root():
        with pytest.raises(SourceError, match=r"closed: cannot be listed \(Permission denied\)"):
            FolderSource(closed)
        with pytest.raises(SourceError, match="cannot be listed"):
            list(source)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], [b"a.png", b"cats/1.png", b"cats/thumbs/2.png", b"dogs/3.JPG"]),
        (["cats/*"], [], [b"cats/1.png", b"cats/thumbs/2.png"]),
        (["*.png"], [], [b"a.png", b"cats/1.png", b"cats/thumbs/2.png"]),
        (["[0-9].*"], [], [b"cats/1.png", b"cats/thumbs/2.png", b"dogs/3.JPG"]),
        (["*.raw", "a*"], [], [b"a.png", b"dogs/4.raw"]),
        (["dogs/*"], [], [b"dogs/3.JPG"]),
        ([], ["thumbs"], [b"a.png", b"cats/1.png", b"dogs/3.JPG"]),
        ([], ["cats/thumbs/"], [b"a.png", b"cats/1.png", b"dogs/3.JPG"]),
        ([], ["*.JPG", "a.*"], [b"cats/1.png", b"cats/thumbs/2.png"]),
        (["cats/*"], ["cats/*/*"], [b"cats/1.png"]),
        (["\udcff*"], [], []),
    ],
)
def test_patterns(tmp_path, include, exclude, expected):
    make(tmp_path, b"a.png", b"cats/1.png", b"cats/thumbs/2.png", b"dogs/3.JPG", b"dogs/4.raw", b"notes.txt")
    source = FolderSource(tmp_path, include, exclude)
    assert paths(source) == expected
    assert source.count() == len(expected)


def test_files_with_other_suffixes_are_counted(tmp_path):
    make(tmp_path, b"a.png", b"cats/notes.txt", b"notes.txt")
    for include, exclude, others in (([], [], 2), (["cats/*"], [], 1), ([], ["cats"], 1), (["*.txt"], [], 0)):
        source = FolderSource(tmp_path, include, exclude)
        list(source)
        assert source.ignored.total() == others


def test_a_folder_that_is_excluded_is_not_entered(tmp_path):
    (tmp_path / "private").mkdir(mode=0)
    make(tmp_path, b"a.png")
    assert paths(FolderSource(tmp_path, exclude=["private"])) == [b"a.png"]


def test_a_path_longer_than_the_system_takes(tmp_path):
    name = "d" * 250
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        os.close(os.open("1.png", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        here = below
    os.close(here)
    try:
        *found, last = FolderSource(tmp_path)
        assert len(found) > 10
        assert last.reason == "folder: File name too long"
    finally:
        subprocess.run(["rm", "-rf", tmp_path / name], check=True)  # pytest cannot delete it


CLUTTER = (
    b"._a.jpg",
    b".DS_Store",
    b"Thumbs.db",
    b".thumbs/a.jpg",
    b"x/@eaDir/a.jpg",
    b"__MACOSX/._a.jpg",
    b"x/.hid.png",
)


def test_hidden_files_and_clutter_are_passed_over(tmp_path):
    make(tmp_path, b"a.jpg", b"x/b.jpg", b"x/c.heix", b"notes.txt", *CLUTTER)
    source = open_source(tmp_path)
    assert paths(source) == [b"a.jpg", b"x/b.jpg"]
    assert source.ignored == {"hidden": len(CLUTTER), ".heix": 1, ".txt": 1}
    assert passed_over(source).startswith("7 hidden, 1 .")
    everything = open_source(tmp_path, include_hidden=True)
    assert len(paths(everything)) == 7
    assert everything.ignored == {".heix": 1, ".txt": 1, ".db": 1, "no suffix": 1}
    assert list_images(tmp_path).ignored == source.ignored


def test_a_hidden_root_is_read(tmp_path):
    make(tmp_path / ".cache", b"a.jpg")
    assert paths(open_source(tmp_path / ".cache")) == [b"a.jpg"]
