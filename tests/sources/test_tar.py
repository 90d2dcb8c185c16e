import gzip
import io
import json
import os
import tarfile
import textwrap

import numpy as np
import pytest

from transhash.sources import Item, Skipped, decode, open_source, tar
from transhash.sources.tar import TarSource


def write(path, members, mode="w"):
    """Write a tar archive of (name, contents); None for a link."""
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(os.fsdecode(name))
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return path


def found(path):
    items = list(TarSource([path]))
    assert [(item.path, getattr(item, "data", None)) for item in items] == [
        (item.path, getattr(item, "data", None)) for item in TarSource([path])
    ]
    return items


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_samples(suffix, tmp_path, png):
    path = write(
        tmp_path / f"s{suffix}",
        [
            (b"a/0.jpg", png(0)),
            (b"a/0.cls", b"7\n"),
            (b"a/0.txt", b"a caption"),
            (b"./a/1.json", json.dumps({"label": ["cat", 3], "other": 1}).encode()),
            (b"./a/1.left.png", png(1)),
            (b"./a/1.right.PNG", png(2)),
            (b"b/1.png", png(3)),
            (b"b/2.png", png(4)),
            (b"b/2.json", b'{"cls": "dog"}'),
            (b"b/2.cls", b"\xff"),
            (b"b/3.json", b'{"labels": []}'),
            (b"b/3.png", b""),
            (b"c\xff.png", png(5)),
        ],
        "w" if suffix == ".tar" else "w:gz",
    )
    name = path.name.encode()
    items = found(path)
    assert items == [
        Item(name + b"/a/0.jpg", ("7",)),
        Item(name + b"/a/1.left.png", ("cat", "3")),
        Item(name + b"/a/1.right.PNG", ("cat", "3")),
        Item(name + b"/b/1.png"),
        Item(name + b"/b/2.png", ("\\xff",)),
        Item(name + b"/b/3.png"),
        Item(name + b"/c\xff.png"),
    ]
    assert [item.data for item in items] == [png(0), png(1), png(2), png(3), png(4), b"", png(5)]
    assert np.asarray(decode.open_item(b"", items[4]))[0, 0, 0] == 4
    assert TarSource([path]).count() is None  # type: ignore[func-returns-value]


def test_rows_of_several_archives_have_names_of_their_own(tmp_path, png):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "s.tar", [(b"0.png", png(0))])
    source = TarSource([tmp_path / "x" / "s.tar", tmp_path / "y" / "s.tar"])
    assert source.root == os.fsencode(tmp_path)
    assert [item.path for item in source] == [b"x/s.tar/0.png", b"y/s.tar/0.png"]


def test_skipped_members(tmp_path, png, monkeypatch):
    monkeypatch.setattr(tar, "MAX_ENCODED", 5000)
    path = write(
        tmp_path / "s.tar",
        [
            (b"link.png", None),
            (b"link.txt", None),
            (b"../../up.png", png(0)),
            (b"0.png", bytes(9000)),
            (b"1.a.png", bytes(2000)),
            (b"1.b.png", bytes(2000)),
            (b"1.c.png", bytes(10)),
            (b"2.json", b"{"),
            (b"2.png", png(0)),
            (b"3.json", b"[" * 100_000),
            (b"4.json", b'{"label": 1.5}'),
            (b"5.cls", bytes(1 << 21)),
            (b"6.json", b"[1, 2]"),
            (b"6.png", png(0)),
        ],
    )
    reasons = {item.path: item.reason for item in found(path) if isinstance(item, Skipped)}
    assert [item.path for item in found(path) if isinstance(item, Item)] == [
        b"s.tar/1.a.png",
        b"s.tar/1.c.png",
        b"s.tar/2.png",
        b"s.tar/6.png",
    ]
    assert reasons.keys() == {
        b"s.tar/" + n
        for n in (b"link.png", b"../../up.png", b"0.png", b"1.b.png", b"2.json", b"3.json", b"4.json", b"5.cls")
    }
    assert reasons[b"s.tar/link.png"] == "link in an archive"
    assert reasons[b"s.tar/../../up.png"] == "path outside the archive"
    assert reasons[b"s.tar/0.png"].startswith("too large: 9000 bytes")
    assert reasons[b"s.tar/2.json"].startswith("no labels: Expecting")
    assert reasons[b"s.tar/3.json"] == "no labels: nested too deeply"
    assert "float" in reasons[b"s.tar/4.json"]
    assert not any("\n" in reason for reason in reasons.values())


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_archive_yields_what_is_there(mode, tmp_path, png):
    whole = write(
        tmp_path / "whole.tar", [(b"%d.png" % n, png(n) + os.urandom(3000)) for n in range(10)], mode
    ).read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[: len(whole) // 2])
    *items, last = TarSource([tmp_path / "s.tar", tmp_path / "whole.tar"])
    cut = next(place for place, item in enumerate(items) if isinstance(item, Skipped))
    assert 2 < cut < 8
    assert items[:cut] == [Item(b"s.tar/%d.png" % number) for number in range(cut)]
    assert items[cut] == Skipped(b"s.tar", "archive cut off: the rest is skipped")
    assert [item.path for item in [*items[cut + 1 :], last]] == [b"whole.tar/%d.png" % number for number in range(10)]


def test_damaged_and_missing_archives(tmp_path, png):
    data = bytearray(write(tmp_path / "s.tar", [(b"%d.png" % n, png(n)) for n in range(3)]).read_bytes())
    data[1024 + 5] ^= 1
    packed = bytearray(gzip.compress(bytes(data), 1))
    packed[len(packed) // 2] ^= 0xFF
    for contents, reason in (
        (bytes(data), "damaged archive: bad checksum"),
        (b"these are words" * 99, "damaged archive: "),
        (bytes(packed), "damaged archive: "),
        (b"", "archive cut off"),
        (None, "No such file"),
    ):
        if contents is None:
            (tmp_path / "s.tar").unlink()
        else:
            (tmp_path / "s.tar").write_bytes(contents)
        last = found(tmp_path / "s.tar")[-1]
        assert last.path == b"s.tar"
        assert last.reason.startswith(reason)


def test_nothing_is_unpacked_to_disk(tmp_path, png, monkeypatch):
    path = write(tmp_path / "s.tar", [(b"0.png", png(0)), (b"/tmp/abs.png", png(1)), (b"2.png", png(2))])
    monkeypatch.chdir(tmp_path)
    assert [item.path for item in found(path)] == [b"s.tar/0.png", b"s.tar/tmp/abs.png", b"s.tar/2.png"]
    assert os.listdir(tmp_path) == ["s.tar"]


READ = """
    import sys
    from transhash.sources.tar import TarSource
    print(sum(1 for _ in TarSource([sys.argv[1]])))
"""


def test_memory_does_not_grow_with_the_archive(peak, png, tmp_path):
    peaks = []
    for count in (500, 10_000):
        write(tmp_path / "s.tar", ((b"a long name of a sample %d.png" % n, png(0)) for n in range(count)))
        peaks.append(peak(READ, tmp_path / "s.tar"))
    assert peaks[1] - peaks[0] < 2_000_000


def test_bombs(peak, tmp_path):
    """Long runs of zeros in a small gzip file: as an image, as the name of one, and as empty images."""
    huge = tarfile.TarInfo("0.png")
    name = tarfile.TarInfo("name")
    name.type = tarfile.GNUTYPE_LONGNAME
    for header in (huge, name):
        header.size = 1 << 27
        with gzip.open(tmp_path / "s.tgz", "wb", compresslevel=1) as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            for _ in range(64):
                file.write(bytes(1 << 21))
        assert peak(READ, tmp_path / "s.tgz") < 100_000_000
    with gzip.open(tmp_path / "s.tgz", "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(tarfile.TarInfo("0.png").tobuf(tarfile.GNU_FORMAT) * 200)
    small = "from transhash.sources import tar; tar.MAX_ENCODED = 1 << 23"
    assert peak(f"{small}\n{textwrap.dedent(READ)}", tmp_path / "s.tgz") < 100_000_000


def test_labels_apart_from_their_images(tmp_path, png):
    images = [(b"x/%d.png" % number, png(number)) for number in range(4)]
    labels = [(b"x/%d.cls" % number, b"%d" % number) for number in range(4)]
    expected = [(b"s.tar/x/%d.png" % number, (str(number),)) for number in range(4)]
    for order in (images + labels, labels + images, images[:2] + labels + images[2:]):
        path = write(tmp_path / "s.tar", order)
        assert [(item.path, item.labels) for item in found(path)] == expected


def test_clutter_in_an_archive(tmp_path, png):
    path = write(tmp_path / "s.tar", [(b"./a.png", png(0)), (b"./._a.png", b"x"), (b"__MACOSX/a.png", b"x")])
    source = TarSource([path])
    assert [item.path for item in source] == [b"s.tar/a.png"]
    assert source.ignored == {"hidden": 2}


def test_a_folder_of_archives_with_other_things_in_it(tmp_path, png):
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in ("b.tar", "a.tar"):
        write(folder / name, [(b"0.png", png(0))])
    expected = [b"a.tar/0.png", b"b.tar/0.png"]
    for name in (".DS_Store", "codes.h5", "notes.txt", "0.parquet", "codes.h5.parts/0.h5"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
        assert [item.path for item in open_source(folder)] == expected
    (folder / "preview.png").write_bytes(png(0))
    source = open_source(folder)
    assert [item.path for item in source] == [b"preview.png"]
    assert source.ignored[".tar"] == 2
