"""Shares of a source, encoded side by side: together they are the whole, and nothing stands in for a missing one."""

import os
import shutil
import signal
import tarfile
import time

import numpy as np
import pytest

from transhash import codes, load_hasher
from transhash.encoding.run import encode_to_file
from transhash.errors import CodesError, OutputError
from transhash.sources import Share, open_source
from transhash.sources.folder import FolderSource

PHASH = load_hasher("phash")


def rows(*files):
    """Every row of some files: its path, code and labels."""
    found = [codes.read_codes(file) for file in files]
    return sorted(
        (path, code.tobytes(), some.records.names(row))
        for some in found
        for row, (path, code) in enumerate(zip(some.records.paths, some.packed, strict=True))
    )


def share(file):
    with codes.open_codes(file) as opened:
        return opened.header.share


def test_shares_in_parallel_with_one_killed(launch, th, pictures, tmp_path):
    """As under Slurm: the same command with different numbers; one is killed and restarted."""
    photos = tmp_path / "photos"
    for number in range(1500):
        (photos / str(number % 7)).mkdir(parents=True, exist_ok=True)
        (photos / str(number % 7) / f"{number}.png").symlink_to(pictures / "cross" / f"{number % 8}.png")
    (photos / "broken.png").touch()
    command = ["encode", photos, "--model", "phash", "--shard"]
    running = [launch(*command, f"{rank}/3", "-o", tmp_path / f"codes.{rank}.h5") for rank in range(3)]
    while not list(tmp_path.glob("codes.1.h5.parts/0*.h5")) and running[1].poll() is None:
        time.sleep(0.01)
    running[1].send_signal(signal.SIGKILL)
    for process in running:
        process.communicate(timeout=600)
    th(*command, "1/3", "-o", tmp_path / "codes.1.h5")
    th("codes", "merge", "codes.0.h5", "codes.1.h5", "codes.2.h5", "-o", "codes.h5", cwd=tmp_path)
    th("encode", photos, "--model", "phash", "-o", tmp_path / "whole.h5")
    assert rows(tmp_path / "codes.h5") == rows(tmp_path / "whole.h5")
    assert share(tmp_path / "codes.h5") == share(tmp_path / "whole.h5") == ""
    assert codes.read_codes(tmp_path / "codes.h5").skipped == [(b"broken.png", "empty file")]
    assert [file.name for file in sorted(tmp_path.glob("codes*"))] == [
        "codes.0.h5", "codes.1.h5", "codes.2.h5", "codes.h5"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def thirds(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shares")
    for number in range(3):
        encode_to_file(Share(FolderSource(pictures), number, 3), folder / f"{number}.h5", PHASH)
    return folder


@pytest.mark.slow
def test_a_missing_share(thirds, th, tmp_path):
    done = th("codes", "merge", thirds / "0.h5", thirds / "2.h5", "-o", tmp_path / "c.h5", code=1)
    assert done.stderr.splitlines()[-1] == (
        "Error: 1 of 3 shares are missing (1): encode them, or join without: --partial (partial=True)"
    )
    assert os.listdir(tmp_path) == []
    th("codes", "merge", thirds / "0.h5", thirds / "2.h5", "-o", tmp_path / "c.h5", "--partial")
    assert rows(tmp_path / "c.h5") == rows(thirds / "0.h5", thirds / "2.h5")


def test_a_duplicate_share(thirds, tmp_path):
    shutil.copy(thirds / "1.h5", tmp_path / "copy.h5")
    files = [(path, None) for path in (*sorted(thirds.glob("*.h5")), tmp_path / "copy.h5")]
    with pytest.raises(CodesError, match=r"1\.h5 and .*copy\.h5 are both share 1/3"):
        codes.merge(files, tmp_path / "c.h5")


@pytest.mark.slow
def test_shares_of_two_sources(thirds, pictures, tmp_path):
    """Each page must be self-contained."""
    shutil.copytree(pictures, tmp_path / "others")
    for number in range(3):
        encode_to_file(Share(FolderSource(tmp_path / "others"), number, 3), tmp_path / f"{number}.h5", PHASH)
    files = [(path, None) for path in (*sorted(thirds.glob("*.h5")), *sorted(tmp_path.glob("*.h5")))]
    assert codes.merge(files, tmp_path / "c.h5") == 48
    with pytest.raises(CodesError, match=r"1 of 3 shares are missing \(2\)"):
        codes.merge(files[:-1], tmp_path / "c.h5")


def test_each_share_needs_its_own_output(pictures, tmp_path):
    output, source = tmp_path / "c.h5", FolderSource(pictures)
    encode_to_file(Share(source, 0, 3), output, PHASH)
    before = output.read_bytes()
    with pytest.raises(
        OutputError, match=r"c\.h5: holds 8 rows of .*, share 0/3, .*; this run is share 1/3: choose another"
    ):
        encode_to_file(Share(source, 1, 3), output, PHASH)
    assert output.read_bytes() == before
    encode_to_file(Share(source, 0, 3), output, PHASH, sync=True)
    assert (share(output), output.read_bytes()) == ("0/3", before)
    encode_to_file(source, output, PHASH)
    assert share(output) == ""


def test_archives_go_to_shares_whole(pictures, tmp_path):
    """If there are enough files; otherwise every machine would read all of them."""
    pngs = sorted(pictures.rglob("*.png"))
    for number in range(5):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as archive:
            for png in pngs[4 * number : 4 * number + 4]:
                archive.add(png, f"{png.parent.name}{png.name}")
    whole = [item.path for item in open_source(tmp_path)]
    shares = [Share(open_source(tmp_path), number, 2) for number in range(2)]
    assert {shared.root for shared in shares} == {open_source(tmp_path).root}
    archives = [{item.path.split(b"/")[0] for item in shared} for shared in shares]
    assert archives == [{b"0.tar", b"2.tar", b"4.tar"}, {b"1.tar", b"3.tar"}]
    many = [Share(open_source(tmp_path), number, 7) for number in range(7)]
    assert [[item.path for item in shared] for shared in many] == [whole[number::7] for number in range(7)]


@pytest.mark.parametrize("listed", [False, True])
def test_files_of_other_shares_are_not_accessed(pictures, tmp_path, monkeypatch, listed):
    names = sorted(os.fsencode(path.relative_to(pictures)) for path in pictures.rglob("*.png"))
    (tmp_path / "list.txt").write_bytes(b"\n".join(names))
    source = open_source(pictures, names=tmp_path / "list.txt" if listed else None)
    whole, looked, stat = list(source), [], os.stat

    def watched(path, **options):
        looked.append(os.fsencode(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", watched)
    assert list(Share(source, 1, 3)) == whole[1::3]
    assert [path for path in looked if path.endswith(b".png")] == [
        os.path.join(source.root, item.path) for item in whole[1::3]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("shares", [2, 3])
def test_shares_know_their_number_of_images(tmp_path, shares):
    """With an array for each share, one of them empty, and with fewer arrays than shares."""
    for number, count in enumerate((5, 0)):
        np.save(tmp_path / f"{number}.npy", np.zeros((count, 5, 5), np.uint8))
    source = open_source(sorted(tmp_path.iterdir()))
    found = [Share(source, number, shares) for number in range(shares)]
    counts = [shared.count() for shared in found]
    assert counts == [len(list(shared)) for shared in found]
    assert sum(counts) == source.count() == 5


@pytest.mark.parametrize("said", ["3/3", "a/3", "1", "1/1000000000000", 7])
def test_an_invalid_share_in_a_file(thirds, tmp_path, said):
    import h5py

    shutil.copy(thirds / "1.h5", tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file.attrs["share"] = said
    with pytest.raises(CodesError, match="share"):
        codes.read_codes(tmp_path / "c.h5")
