import json
import os
import re
import shutil
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transhash_cli import running

from transhash import load_hasher, read_codes
from transhash.codes import Codes, ModelRef, Records, StringTable, write_codes
from transhash.sources import decode


@pytest.fixture
def here(monkeypatch, capsys):
    """Run `th` in this process, with what it prints: quicker than in one of its own."""

    def run(*arguments, cwd=None, code=0):
        with monkeypatch.context() as patch:
            if cwd:
                patch.chdir(cwd)
            capsys.readouterr()
            returned = running.run([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert returned == code, f"exit code {returned}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, returned, out, err)

    return run


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


def test_hostile_folder(here, hostile, tmp_path):
    done = here("encode", hostile, "-o", tmp_path / "c.h5", "--model", "phash")
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


def test_output_is_the_same_every_time(here, pictures, tmp_path):
    for name in ("a.h5", "b.h5"):
        here("encode", pictures, "-o", tmp_path / name, "--model", "phash")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_lists(here, pictures, tmp_path):
    (tmp_path / "list.txt").write_text("cross/3.png\ncircle/1.png\n")
    here("encode", pictures, "-o", tmp_path / "c.h5", "--model", "phash", "--list", tmp_path / "list.txt")
    codes = read_codes(tmp_path / "c.h5")
    assert list(codes.records.paths) == [b"cross/3.png", b"circle/1.png"]
    assert [codes.records.names(row) for row in range(2)] == [("cross",), ("circle",)]


@pytest.mark.slow
def test_sync_reports_changes(here, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "photos")
    here("encode", "photos", "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    (tmp_path / "photos" / "cross" / "0.png").unlink()
    shutil.copy(tmp_path / "photos" / "stripe" / "0.png", tmp_path / "photos" / "new.png")
    done = here("encode", "photos", "-o", "c.h5", "--model", "phash", "--append", cwd=tmp_path)
    assert "25 rows of 64 bits" in done.stderr
    assert "encoded 1 image at" in done.stderr
    assert "0 images changed, 1 gone: their rows are kept; --sync updates them" in done.stderr
    done = here("encode", "photos", "-o", "c.h5", "--model", "phash", "--sync", cwd=tmp_path)
    assert "24 rows of 64 bits" in done.stderr
    assert "encoded 0 images; 0 skipped" in done.stderr


def test_log_json(here, pictures, tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(pictures / "cross" / "0.png", tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").touch()
    done = here("encode", "photos", "-o", "c.h5", "--model", "phash", "--log-json", cwd=tmp_path)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == ["skipped", "summary"]
    assert events[0] == {"event": "skipped", "path": "broken.png", "reason": "empty file"}
    assert (events[-1]["rows"], events[-1]["skipped"]) == (1, {"empty file": 1})
    done = here("encode", "photos", "-o", "d.h5", "--model", "none.safetensors", "--log-json", cwd=tmp_path, code=1)
    assert json.loads(done.stderr)["event"] == "error"


@pytest.mark.slow
def test_quiet(here, pictures, tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(pictures / "cross" / "0.png", tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").touch()
    for arguments in (["encode", "photos", "--quiet"], ["--quiet", "encode", "photos"]):
        done = here(*arguments, "-o", "c.h5", "--model", "phash", cwd=tmp_path)
        assert done.stdout == done.stderr == ""


def test_what_is_not_an_image_by_its_name_is_counted(here, pictures, tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(pictures / "cross" / "0.png", tmp_path / "photos")
    for name in ("a.raw", "b.raw", "notes.txt"):
        (tmp_path / "photos" / name).touch()
    done = here("encode", "photos", "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    assert "ignored 3 other files: 2 .raw, 1 .txt\n" in done.stderr


@pytest.mark.slow
def test_other_files_are_replaced_only_with_force(here, pictures, tmp_path, hasher_file):
    """A repeated command does not overwrite a codes file of another folder or hasher, or with embeddings."""
    run = ["encode", "-o", "c.h5", "--model"]
    here(*run, hasher_file, pictures, "--embeddings", cwd=tmp_path)
    before = (tmp_path / "c.h5").read_bytes()
    for other, reason in (
        ([hasher_file, pictures / "cross"], "this run is of .*/cross"),
        (["phash", pictures], "this run uses phash"),
        ([hasher_file, pictures], "this run keeps no embeddings"),
    ):
        done = here(*run, *other, cwd=tmp_path, code=1)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        assert line.startswith("Error: c.h5: holds 24 rows of ")
        assert re.search(reason, line)
        assert "--force" in line
        assert (tmp_path / "c.h5").read_bytes() == before
    here(*run, "phash", pictures / "cross", "--force", cwd=tmp_path)
    assert len(read_codes(tmp_path / "c.h5")) == 8


def write_tar(path, pictures):
    with tarfile.open(path, "w") as archive:
        for picture in pictures:
            archive.add(picture, picture.name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "list", "npy", "file", "folder"])
def test_codes_of_another_source_in_the_same_folder_are_replaced_only_with_force(here, pictures, tmp_path, kind):
    """Two archives, lists or tables of one folder do not replace each other's codes."""
    photos = sorted((pictures / "cross").iterdir())
    sources: dict[str, list[list[str]]] = {
        "tar": [["a.tar"], ["b.tar"], ["a.tar", "b.tar"]],
        "list": [[".", "--list", "a.txt"], [".", "--list", "b.txt"], []],
        "npy": [["a.npy"], ["b.npy"], ["a.npy", "b.npy"]],
        "file": [["a.png"], ["b.png"], ["b.png", "a.png"]],
        "folder": [["."], ["a.png"], []],
    }
    for name, few in (("a", photos[:3]), ("b", photos[3:5])):
        write_tar(tmp_path / f"{name}.tar", few)
        shutil.copy(few[0], tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text("".join(f"{path}\n" for path in few))
        np.save(tmp_path / f"{name}.npy", np.stack([np.asarray(Image.open(path).convert("RGB")) for path in few]))
    first, second, both = sources[kind]
    run = ["encode", "-o", "c.h5", "--model", "phash"]
    here(*run, *first, cwd=tmp_path)
    before = (tmp_path / "c.h5").read_bytes()
    refused = here(*run, *second, cwd=tmp_path, code=1).stderr
    assert "; this run does not read " in refused
    assert "--force" in refused
    assert "would drop" in here(*run, *second, "--sync", cwd=tmp_path, code=1).stderr
    assert (tmp_path / "c.h5").read_bytes() == before
    here(*run, *second, "--append", cwd=tmp_path)
    assert "does not read " in here(*run, *second, cwd=tmp_path, code=1).stderr
    if both:
        here(*run, *both, "--sync", cwd=tmp_path)
        here(*run, *both, cwd=tmp_path)
    here(*run, *second, "--force", cwd=tmp_path)
    here(*run, *second, cwd=tmp_path)
    (tmp_path / "b.png").unlink()  # what is gone may be replaced
    if kind == "file":
        here(*run, *first, cwd=tmp_path)


@pytest.mark.slow
def test_hidden_files_are_counted_or_included(here, pictures, tmp_path):
    photos = tmp_path / "photos"
    for name in ("a.png", "._a.png", ".thumbs/a.png", "@eaDir/a.png", ".b/c.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures / "cross" / "0.png", photos / name)
    run = ["encode", "photos", "--model", "phash", "-o"]
    assert "ignored 4 other files: 4 hidden\n" in here(*run, "c.h5", cwd=tmp_path).stderr
    assert list(read_codes(tmp_path / "c.h5").records.paths) == [b"a.png"]
    assert "ignored" not in here(*run, "all.h5", "--include-hidden", cwd=tmp_path).stderr
    paths = set(read_codes(tmp_path / "all.h5").records.paths)
    assert paths == {b"a.png", b"._a.png", b".thumbs/a.png", b"@eaDir/a.png", b".b/c.png"}


@pytest.mark.slow
def test_sync_takes_model_and_embeddings_from_the_file(here, pictures, tmp_path, hasher_file):
    shutil.copytree(pictures, tmp_path / "photos")
    hasher = shutil.copy(hasher_file, tmp_path / "h.safetensors")
    here("encode", "photos", "-o", "c.h5", "--model", "h.safetensors", "--embeddings", cwd=tmp_path)
    (tmp_path / "photos" / "cross" / "0.png").unlink()
    shutil.copy(tmp_path / "photos" / "stripe" / "0.png", tmp_path / "photos" / "new.png")
    here("encode", "photos", "-o", "c.h5", "--sync", cwd=tmp_path)
    synced = read_codes(tmp_path / "c.h5", embeddings=True)
    here("encode", "photos", "-o", "new.h5", "--model", "h.safetensors", "--embeddings", cwd=tmp_path)
    new = read_codes(tmp_path / "new.h5", embeddings=True)
    order = [list(synced.records.paths).index(path) for path in new.records.paths]
    np.testing.assert_array_equal(synced.packed[order], new.packed)
    np.testing.assert_allclose(synced.embeddings[order], new.embeddings, atol=1e-2)
    here("encode", "photos", "-o", "p.h5", "--model", "phash", cwd=tmp_path)
    for output, options, message in (
        ("p.h5", ["--sync", "--embeddings"], "p.h5: holds no embeddings"),
        ("p.h5", ["--sync", "--model", "h.safetensors"], "p.h5: was made with phash (64 bits, digest"),
        ("c.h5", ["--sync", "--force"], "choose one"),
    ):
        assert message in here("encode", "photos", "-o", output, *options, cwd=tmp_path, code=1).stderr
    os.remove(hasher)
    done = here("encode", "photos", "-o", "c.h5", "--sync", cwd=tmp_path, code=1)
    assert "h.safetensors, which no longer exists; name the file with --model" in done.stderr


@pytest.mark.slow
def test_an_output_that_is_a_link_or_lies_among_the_images(here, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "photos")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "c.h5").symlink_to("elsewhere/c.h5")
    run = ["encode", "photos", "--model", "phash", "-o"]
    here(*run, "c.h5", cwd=tmp_path)
    assert (tmp_path / "c.h5").is_symlink()
    assert len(read_codes(tmp_path / "elsewhere" / "c.h5")) == 24
    for _ in range(2):
        done = here(*run, "photos/codes.png", cwd=tmp_path)
        assert "0 skipped" in done.stderr
    assert os.listdir(tmp_path / "elsewhere") == ["c.h5"]


def test_dry_run_shows_and_writes_nothing(here, pictures, tmp_path):
    done = here("encode", pictures, "--dry-run", "--include", "cross/*", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "cross/0.png  cross"
    assert done.stdout.splitlines()[-1] == "8 images, 1 label; 0 skipped before reading"
    assert os.listdir(tmp_path) == []


def test_standard_input_and_nul_bytes(command, pictures, tmp_path):
    names = b"cross/3.png\0circle/1.png\0"
    arguments = ["encode", str(pictures), "--list", "-", "-0", "-o", str(tmp_path / "c.h5"), "--model", "phash"]
    subprocess.run([*command, *arguments], input=names, check=True, capture_output=True)
    assert list(read_codes(tmp_path / "c.h5").records.paths) == [b"cross/3.png", b"circle/1.png"]


def test_a_warning_where_codes_collapse(here, tmp_path):
    (tmp_path / "grey").mkdir()
    for number in range(120):
        Image.new("L", (8, 8), number).save(tmp_path / "grey" / f"{number}.png")
    done = here("encode", "grey", "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    assert "bits hardly vary" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "-o", "c.h5", "--model", "phash"], 2, "'nowhere' does not exist"),
        (["photos", "-o", "no/c.h5", "--model", "phash"], 2, "'no' does not exist"),
        (["photos", "--model", "phash"], 2, "Missing option '-o'"),
        (["photos", "-o", "c.h5", "--model", "none.safetensors"], 1, "choose copy, phash, or a file made by"),
        (["photos", "-o", "note.txt", "--model", "phash"], 1, "not a codes file"),
        (["photos", "-o", "c.h5", "--model", "note.txt"], 1, "not a hasher"),
        (["empty", "-o", "c.h5", "--model", "phash"], 1, "no images in it"),
        (["photos", "-o", "c.h5", "--model", "phash", "--batch-size", "0"], 2, "--batch-size"),
        (["photos", "-o", "c.h5", "--model", "copy", "--bits", "72"], 1, "copy makes codes of 64, 128, 256 bits"),
        (["photos", "-o", "c.h5", "--model", "phash", "--bf16"], 1, "leave out --bf16"),
        (["photos", "-o", "c.h5", "--model", "phash", "--shard", "4/4"], 2, "I from 0 to N - 1"),
        (["photos", "-o", "c.h5", "--model", "phash", "--shard", "0/1000000"], 2, "N at most 999,999"),
    ],
)
def test_misuse_gives_one_line(here, pictures, tmp_path, arguments, code, message):
    (tmp_path / "photos").symlink_to(pictures)
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("mine")
    done = here("encode", *arguments, cwd=tmp_path, code=code)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("images in ")]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("Error: ")
    assert message in errors[0]
    assert sorted(os.listdir(tmp_path)) == ["empty", "note.txt", "photos"]


@pytest.mark.parametrize(("what", "blocks"), [("codes", 0), ("codes", 2), ("codes", 40), ("index", 0), ("index", 8)])
def test_full_disk_leaves_nothing(full_disk, pictures, tmp_path, what, blocks):
    """A limit on file size stands in for a full disk: every command says so in a line and leaves nothing behind."""
    if what == "codes":
        arguments = ["encode", pictures, "-o", tmp_path / "out" / "c.h5", "--model", "phash"]
    else:
        rows = np.random.default_rng(0).integers(0, 256, (20_000, 8), dtype=np.uint8)
        records = Records(StringTable.of([b"%d" % row for row in range(len(rows))]))
        write_codes(tmp_path / "codes.h5", Codes(rows, records, ModelRef("m", "d", 64)))
        arguments = ["index", "build", tmp_path / "codes.h5", "-o", tmp_path / "out" / "i"]
    (tmp_path / "out").mkdir()
    done = full_disk(blocks, *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "File too large" in done.stderr.splitlines()[-1]
    assert str(tmp_path / "out") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.slow
def test_merged_shares_equal_the_whole_folder(here, pictures, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(pictures, folder)
    (folder / "broken.png").write_bytes(b"no image")
    here("encode", folder, "-o", tmp_path / "whole.h5", "--model", "phash")
    shares = [tmp_path / f"{number}.h5" for number in range(3)]
    for number, output in enumerate(shares):
        here("encode", folder, "-o", output, "--model", "phash", "--shard", f"{number}/3")
    here("codes", "merge", *shares, "-o", tmp_path / "merged.h5")
    whole, merged = (read_codes(tmp_path / name) for name in ("whole.h5", "merged.h5"))
    rows = [dict(zip(codes.records.paths, codes.packed.tolist(), strict=True)) for codes in (whole, merged)]
    assert rows[0] == rows[1]
    assert merged.skipped == whole.skipped
    assert len(merged) == len(whole) == 24
