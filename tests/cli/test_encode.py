import os
import signal
import struct
import subprocess
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transhash import images, load_hasher, read_codes


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.fixture
def hostile(pictures, tmp_path) -> Path:
    """A folder of everything that has ever broken an encoder, with good pictures in between."""
    root = tmp_path / "hostile"
    good = sorted(pictures.rglob("*.png"))
    whole = good[0].read_bytes()
    names = [
        b"a good.png",
        b"m/\xc3\xa9t\xc3\xa9.png",
        b"m/undecodable \xff.png",
        b"n/new\nline.png",
        b"z/z/z/deep.png",
    ]
    for number, name in enumerate(names):
        target = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(os.fsdecode(target)).write_bytes(good[number * 4].read_bytes())
    (root / "a truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "b empty.png").touch()
    (root / "c words.jpg").write_text("this is no picture")
    Image.new("RGB", (1, 1), "red").save(root / "d 1x1.png")
    Image.new("L", (1, 30000)).save(root / "d thin.png")
    header = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(10**6)))
    (root / "e bomb.png").write_bytes(bomb)
    frames = [Image.open(good[0]), Image.open(good[9]), Image.open(good[17])]
    frames[0].save(root / "f animated.gif", save_all=True, append_images=frames[1:])
    (root / "g unreadable.png").write_bytes(whole)
    (root / "g unreadable.png").chmod(0)
    os.mkfifo(root / "h pipe.jpg")
    (root / "i loop.png").symlink_to(root / "i loop.png")
    (root / "j around").symlink_to(root)
    (root / "k gone.png").symlink_to(root / "nowhere.png")
    (root / "l folder.png").mkdir()
    (root / "notes.txt").write_text("not an image, and not named like one")
    return root


def test_hostile_folder(th, hostile, tmp_path):
    done = th("encode", hostile, "-o", tmp_path / "c.h5", "--model", "phash")
    codes = read_codes(tmp_path / "c.h5")
    readable_by_root = os.geteuid() == 0
    expected = {
        b"a good.png",
        b"d 1x1.png",
        b"d thin.png",
        b"f animated.gif",
        b"m/\xc3\xa9t\xc3\xa9.png",
        b"m/undecodable \xff.png",
        b"n/new\nline.png",
        b"z/z/z/deep.png",
    } | ({b"g unreadable.png"} if readable_by_root else set())
    assert set(codes.records.paths) == expected
    hasher = load_hasher("phash")
    for row in range(len(codes)):
        alone = hasher.encode(hasher.preprocess(images.read(codes.records.path(row)))[None])
        np.testing.assert_array_equal(codes.codes[row], alone[0])
    reasons = dict(codes.skipped)
    assert reasons.keys() == {
        b"a truncated.jpg",
        b"b empty.png",
        b"c words.jpg",
        b"e bomb.png",
        b"h pipe.jpg",
        b"i loop.png",
        b"j around",
        b"k gone.png",
    } | (set() if readable_by_root else {b"g unreadable.png"})
    for path, reason in reasons.items():
        assert f"skipped {os.fsdecode(path)}: {reason}\n" in done.stderr
    assert f"{len(expected)} codes of 64 bits" in done.stderr
    assert f"{len(reasons)} skipped" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_output_is_the_same_every_time(th, pictures, tmp_path):
    for name in ("a.h5", "b.h5"):
        th("encode", pictures, "-o", tmp_path / name, "--model", "phash")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_lists(th, pictures, tmp_path):
    (tmp_path / "list.txt").write_text("cross/3.png\ncircle/1.png\n")
    th("encode", pictures, "-o", tmp_path / "c.h5", "--model", "phash", "--list", tmp_path / "list.txt")
    codes = read_codes(tmp_path / "c.h5")
    assert list(codes.records.paths) == [b"cross/3.png", b"circle/1.png"]
    assert [codes.records.names(row) for row in range(2)] == [("cross",), ("circle",)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle(start, th, pictures, tmp_path, how):
    """Nothing half-written, and what stood there stays."""
    many = tmp_path / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number:04}.png").symlink_to(pictures / "cross" / f"{number % 8}.png")
    output = tmp_path / "out" / "c.h5"
    output.parent.mkdir()
    th("encode", pictures, "-o", output, "--model", "phash")
    before = output.read_bytes()
    process = start("encode", many, "-o", output, "--model", "phash")
    while not list(output.parent.glob(".*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert output.read_bytes() == before
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert errors.splitlines()[-1].startswith("Error: interrupted")
        assert os.listdir(output.parent) == ["c.h5"]
    th("encode", many, "-o", output, "--model", "phash")
    assert len(read_codes(output)) == 3000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "-o", "c.h5", "--model", "phash"], 2, "'nowhere' does not exist"),
        (["photos", "-o", "no/c.h5", "--model", "phash"], 2, "'no' does not exist"),
        (["photos", "-o", "c.h5"], 2, "--model"),
        (["photos", "-o", "c.h5", "--model", "none.safetensors"], 1, "give phash, or a file made by: th train"),
        (["photos", "-o", "note.txt", "--model", "phash"], 1, "not a codes file"),
        (["photos", "-o", "c.h5", "--model", "note.txt"], 1, "not a hasher"),
        (["empty", "-o", "c.h5", "--model", "phash"], 1, "no images in it"),
        (["photos", "-o", "c.h5", "--model", "phash", "--batch-size", "0"], 2, "--batch-size"),
    ],
)
def test_misuse_gives_one_line(th, pictures, tmp_path, arguments, code, message):
    (tmp_path / "photos").symlink_to(pictures)
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("mine")
    done = th("encode", *arguments, cwd=tmp_path, code=code)
    errors = [line for line in done.stderr.splitlines() if not line.endswith(("images in empty", "left"))]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("Error: ")
    assert message in errors[0]
    assert sorted(os.listdir(tmp_path)) == ["empty", "note.txt", "photos"]


@pytest.mark.parametrize("blocks", [0, 2, 8, 40])
def test_full_disk_leaves_nothing(command, th, pictures, hasher_file, tmp_path, blocks):
    """A limit on file size stands in for a full disk: every command says so in a line and leaves nothing behind."""
    th("encode", pictures, "-o", tmp_path / "codes.h5", "--model", "phash")
    (tmp_path / "out").mkdir()
    for arguments in (
        ["encode", pictures, "-o", tmp_path / "out" / "c.h5", "--model", "phash"],
        ["index", "build", tmp_path / "codes.h5", "-o", tmp_path / "out" / "i"],
    ):
        shell = f'ulimit -f {blocks}; trap "" XFSZ; exec "$@"'
        done = subprocess.run(["bash", "-c", shell, "-", *command, *arguments], capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert done.stderr.splitlines()[-1].startswith("Error: ")
        assert "File too large" in done.stderr.splitlines()[-1]
        assert str(tmp_path / "out") in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert os.listdir(tmp_path / "out") == []
