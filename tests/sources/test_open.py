import io
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from transhash.errors import SourceError
from transhash.sources import ImageSource, open_source


@pytest.fixture
def place(tmp_path, png, monkeypatch):
    """A folder with one source of every kind."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/cat/1.png", "photos/2.jpg", "loose.PNG", "loose2.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(png(0))
    Path("list.txt").write_text("cat/1.png\n")
    Path("list.csv").write_text("path,label\n2.jpg,dog\n")
    Path("notes.md").write_text("notes")
    Path("empty").mkdir()
    os.mkfifo("pipe.tar")
    for folder in ("shards", "mixed"):
        Path(folder).mkdir()
        for name in ("b.tar", "a.tar.gz"):
            with tarfile.open(f"{folder}/{name}", "w") as tar:
                info = tarfile.TarInfo("0.png")
                info.size = len(png(0))
                tar.addfile(info, io.BytesIO(png(0)))
    Path("mixed/1.png").write_bytes(png(0))
    np.save("array.npy", np.zeros((2, 4, 5), np.uint8))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "how", "root", "paths"),
    [
        (["photos"], {}, "photos", [b"2.jpg", b"cat/1.png"]),
        ("photos", {"include": ["cat/*"]}, "photos", [b"cat/1.png"]),
        (["photos"], {"exclude": ["cat"]}, "photos", [b"2.jpg"]),
        (["photos"], {"names": "list.txt"}, "photos", [b"cat/1.png"]),
        ([], {"names": Path("list.csv")}, "", [b"2.jpg"]),
        (["-"], {}, "", [b"s.png"]),
        ("-", {"null": True}, "", [b"s.png\n"]),
        (["photos"], {"names": "-"}, "photos", [b"s.png"]),
        (["loose2.png", "loose.PNG"], {}, "", [b"loose2.png", b"loose.PNG"]),
        (Path("loose.PNG"), {}, "", [b"loose.PNG"]),
        (["shards/b.tar", "shards/a.tar.gz"], {}, "shards", [b"b.tar/0.png", b"a.tar.gz/0.png"]),
        (["shards"], {}, "shards", [b"a.tar.gz/0.png", b"b.tar/0.png"]),
        (["mixed"], {}, "mixed", [b"1.png"]),
        (["shards"], {"exclude": ["x"]}, "shards", []),
        (["array.npy"], {}, "", [b"array.npy/0", b"array.npy/1"]),
        (["empty"], {}, "empty", []),
        ("list.txt", {}, "", [b"cat/1.png"]),
    ],
)
def test_every_kind(where, how, root, paths, place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"s.png\n")))
    source = open_source(where, **how)
    assert isinstance(source, ImageSource)
    assert [item.path for item in source] == paths
    assert source.root == os.fsencode(place / root)
    assert source.count() in (None, len(paths))
    assert "image" in source.description


@pytest.mark.parametrize(
    ("where", "how", "message"),
    [
        ([], {}, "no images: pass a folder"),
        (["nowhere"], {}, "nowhere: no such file or folder"),
        (["notes.md"], {}, r"notes.md: by its name, neither an image nor one of .tar .*; pass a list with --list"),
        (["pipe.tar"], {}, "pipe.tar: not a regular file"),
        (["photos", "mixed"], {}, "photos: a folder among 2 paths"),
        (["loose.PNG", "array.npy"], {}, "loose.PNG and array.npy: different kinds"),
        (["loose.PNG"], {"names": "list.txt"}, "loose.PNG: not a folder"),
        (["loose.PNG"], {"include": ["*"]}, "patterns select the files of a folder"),
        (["photos"], {"names": "list.txt", "exclude": ["*"]}, "patterns"),
        (["photos"], {"null": True}, "NUL bytes"),
        (["-", "photos"], {}, "-: no such file"),
        (["photos"], {"names": "nowhere.txt"}, "nowhere.txt: No such file"),
    ],
)
def test_misuse_gives_one_line(where, how, message, place):
    with pytest.raises(SourceError, match=message) as caught:
        open_source(where, **how)
    assert "\n" not in str(caught.value)
