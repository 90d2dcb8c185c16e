import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transhash import load_hasher, read_codes
from transhash.codes import Codes, ModelRef, Records, StringTable, open_codes, write_codes
from transhash.sources import decode


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
        alone = hasher.encode(hasher.preprocess(decode.read(codes.records.path(row)))[None])
        np.testing.assert_array_equal(codes.packed[row], alone[0])
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
    assert f"{len(expected)} rows" in done.stderr
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


@pytest.fixture(scope="module")
def many(pictures, tmp_path_factory):
    """Thousands of images, some of them broken."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(4000):
        name = folder / str(number % 7) / f"{number:04}.png"
        name.parent.mkdir(exist_ok=True)
        name.symlink_to(pictures / "cross" / f"{number % 8}.png") if number % 50 else name.write_bytes(b"broken")
    return folder


def rows(path):
    with open_codes(path) as file:
        return file.header.digest, len(file)


def test_killed_again_and_again(start, th, pictures, many, tmp_path):
    """kill -9 and Ctrl-C at random moments: what stood there stays, and the end is that of one run."""
    output = tmp_path / "c.h5"
    th("encode", pictures, "-o", output, "--model", "phash")
    before = output.read_bytes()
    th("encode", many, "-o", tmp_path / "whole.h5", "--model", "phash")
    rng = np.random.default_rng(0)
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
        process = start("encode", many, "-o", output, "--model", "phash")
        while not (tmp_path / "c.h5.parts").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2))
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            break  # it was faster than that
        if output.read_bytes() != before:  # it was done, but not gone yet
            assert rows(output) == rows(tmp_path / "whole.h5")
        if how != signal.SIGKILL:
            assert process.returncode in (130, -how)  # -how: so early that nobody listened
            assert process.returncode == -how or errors.splitlines()[-1].startswith("Error: interrupted")
    th("encode", many, "-o", output, "--model", "phash")
    assert rows(output) == rows(tmp_path / "whole.h5")
    assert rows(output)[1] == 3920
    assert sorted(os.listdir(tmp_path)) == ["c.h5", "whole.h5"]


@pytest.mark.parametrize("source", ["folder", "array"])
def test_a_signal_to_every_process(source, start, th, many, hasher_file, tmp_path):
    """As services are stopped: no image is given up because the process that helped with it was ended, too."""
    if source == "folder":
        arguments, number = ["encode", many / "1", "--model", hasher_file, "--processes", 2], 560
    else:
        np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (20_000, 8, 8, 3), np.uint8))
        arguments, number = ["encode", tmp_path / "a.npy", "--model", "phash"], 20_000
    output = tmp_path / "c.h5"
    process = start(*arguments, "-o", output)
    for line in process.stderr:
        if re.match(r"[1-9]\d*/", line):
            break
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("Error: interrupted")
    assert "going on" in th(*arguments, "-o", output).stderr
    assert rows(output)[1] == number


def test_nobody_outlives_a_killed_run(start, left, many, hasher_file, tmp_path):
    process = start("encode", many, "--model", hasher_file, "--processes", 2, "-o", tmp_path / "c.h5")
    for line in process.stderr:
        if re.match(r"[1-9]\d*/", line):
            break
    process.kill()
    process.wait()
    assert not left(process.pid)


def test_sync_says_what_changed(th, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "photos")
    th("encode", "photos", "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    (tmp_path / "photos" / "cross" / "0.png").unlink()
    shutil.copy(tmp_path / "photos" / "stripe" / "0.png", tmp_path / "photos" / "new.png")
    done = th("encode", "photos", "-o", "c.h5", "--model", "phash", "--append", cwd=tmp_path)
    assert "25 rows; encoded 1 images" in done.stderr
    assert "0 images have changed, 1 have vanished: kept as they were; --sync" in done.stderr
    done = th("encode", "photos", "-o", "c.h5", "--model", "phash", "--sync", cwd=tmp_path)
    assert "24 rows; encoded 0 images" in done.stderr


def test_log_for_machines(th, pictures, tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(pictures / "cross" / "0.png", tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").touch()
    done = th("encode", "photos", "-o", "c.h5", "--model", "phash", "--log-json", cwd=tmp_path)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert events[-1]["event"] == "summary"
    assert (events[-1]["rows"], events[-1]["skipped"]) == (1, {"empty file": 1})


def test_dry_run_shows_and_writes_nothing(th, pictures, tmp_path):
    done = th("encode", pictures, "--dry-run", "--include", "cross/*", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "cross/0.png  cross"
    assert done.stdout.splitlines()[-1] == "8 images, 1 labels; 0 skipped before reading"
    assert os.listdir(tmp_path) == []


def test_stdin_and_nul(command, pictures, tmp_path):
    names = b"cross/3.png\0circle/1.png\0"
    arguments = ["encode", str(pictures), "--list", "-", "-0", "-o", str(tmp_path / "c.h5"), "--model", "phash"]
    subprocess.run([*command, *arguments], input=names, check=True, capture_output=True)
    assert list(read_codes(tmp_path / "c.h5").records.paths) == [b"cross/3.png", b"circle/1.png"]


def test_a_warning_where_codes_collapse(th, tmp_path):
    (tmp_path / "grey").mkdir()
    for number in range(120):
        Image.new("L", (8, 8), number).save(tmp_path / "grey" / f"{number}.png")
    done = th("encode", "grey", "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    assert "bits hardly vary" in done.stderr


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
        (["photos", "-o", "c.h5", "--model", "phash", "--bf16"], 1, "leave out --bf16"),
        (["photos", "-o", "c.h5", "--model", "phash", "--shard", "4/4"], 2, "I from 0 to N - 1"),
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
@pytest.mark.parametrize("what", ["codes", "index"])
def test_full_disk_leaves_nothing(command, th, pictures, tmp_path, what, blocks):
    """A limit on file size stands in for a full disk: every command says so in a line and leaves nothing behind."""
    if what == "codes":
        arguments = ["encode", pictures, "-o", tmp_path / "out" / "c.h5", "--model", "phash"]
    else:
        rows = np.random.default_rng(0).integers(0, 256, (20_000, 8), dtype=np.uint8)
        records = Records(StringTable.of([b"%d" % row for row in range(len(rows))]))
        write_codes(tmp_path / "codes.h5", Codes(rows, records, ModelRef("m", "d", 64)))
        arguments = ["index", "build", tmp_path / "codes.h5", "-o", tmp_path / "out" / "i"]
    (tmp_path / "out").mkdir()
    shell = f'ulimit -f {blocks}; trap "" XFSZ; exec "$@"'
    done = subprocess.run(["bash", "-c", shell, "-", *command, *arguments], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "File too large" in done.stderr.splitlines()[-1]
    assert str(tmp_path / "out") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "out") == []


def test_shares_of_a_folder_make_the_whole(th, pictures, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(pictures, folder)
    (folder / "broken.png").write_bytes(b"no image")
    th("encode", folder, "-o", tmp_path / "whole.h5", "--model", "phash")
    shares = [tmp_path / f"{number}.h5" for number in range(3)]
    for number, output in enumerate(shares):
        th("encode", folder, "-o", output, "--model", "phash", "--shard", f"{number}/3")
    th("codes", "merge", *shares, "-o", tmp_path / "merged.h5")
    whole, merged = (read_codes(tmp_path / name) for name in ("whole.h5", "merged.h5"))
    rows = [dict(zip(codes.records.paths, codes.packed.tolist(), strict=True)) for codes in (whole, merged)]
    assert rows[0] == rows[1]
    assert merged.skipped == whole.skipped
    assert len(merged) == len(whole) == 24
