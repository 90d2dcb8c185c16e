import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from transhash.codes import (
    Codes,
    CodesWriter,
    ModelRef,
    Records,
    StringTable,
    open_codes,
    read_codes,
    verify_codes,
    write_codes,
)

from ..signals import run_until

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def encoded(th, pictures, tmp_path_factory):
    """The codes file of 24 images."""
    path = tmp_path_factory.mktemp("encoded") / "c.h5"
    th("encode", pictures, "-o", path, "--model", "phash")
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """200,000 rows."""
    path = tmp_path_factory.mktemp("large") / "c.h5"
    rng = np.random.default_rng(0)
    offsets = np.arange(0, 20 * 200_000 + 1, 20, dtype=np.uint64)
    paths = StringTable(rng.integers(97, 123, 20 * 200_000, dtype=np.uint8), offsets)
    codes = rng.integers(0, 256, (200_000, 8), dtype=np.uint8)
    write_codes(path, Codes(codes, Records(paths, b"/root"), ModelRef("phash", "phash-dct-64", 64)))
    return path


def digest(path):
    with open_codes(path) as file:
        return file.header.digest


def test_info(th, encoded):
    text = th("codes", "info", encoded).stdout
    lines = dict(line.split("  ", 1) for line in text.splitlines())
    assert {name: value.strip() for name, value in lines.items()}["rows"] == "24"
    assert "3 classes: circle 8, cross 8, stripe 8" in text
    assert digest(encoded) in text
    found = json.loads(th("codes", "info", encoded, "--json").stdout)
    assert found["labels"] == {"circle": 8, "cross": 8, "stripe": 8}
    assert (found["format_version"], found["rows"], found["bits"], found["model"]) == (1, 24, 64, "phash")
    assert found["digest"] == digest(encoded)
    assert found["bytes_a_row"] == encoded.stat().st_size / 24


def test_info_of_golden_files(th):
    found = json.loads(th("codes", "info", GOLDEN / "codes-v1.h5", "--json").stdout)
    assert found["root"] == "photos \udcff"
    assert (found["labels_a_row"], found["embeddings"], found["sizes_and_times"]) == (2, 2, True)
    assert found["skipped"] == {"empty file": 1}
    old = json.loads(th("codes", "info", GOLDEN / "codes-v0.h5", "--json").stdout)
    assert (old["format_version"], old["digest"], old["rows"]) == (0, None, 2)
    for name in ("codes-v0.h5", "codes-v1.h5"):
        assert "1 file: empty file 1" in th("codes", "info", GOLDEN / name).stdout


def test_info_of_no_rows(th, tmp_path):
    with CodesWriter.create(tmp_path / "c.h5", ModelRef("m", "d", 64)) as writer:
        writer.skip(b"x", "damaged image: of some kind")
    assert json.loads(th("codes", "info", tmp_path / "c.h5", "--json").stdout)["skipped"] == {"damaged image": 1}


def test_verify(th, encoded, tmp_path):
    done = th("codes", "verify", encoded, GOLDEN / "codes-v0.h5")
    assert done.stdout.splitlines() == [
        f"{encoded}: 24 rows intact; digest {digest(encoded)}",
        f"{GOLDEN / 'codes-v0.h5'}: 2 rows can be read; version 0 has no checksums",
    ]
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(encoded.read_bytes())
    with h5py.File(damaged, "r+") as file:
        file["codes"][7, 3] ^= 1
    done = th("codes", "verify", encoded, damaged, code=1)
    errors = [line for line in done.stderr.splitlines() if not line.endswith("left")]
    assert errors == [f"Error: {damaged}: segment 0, rows 0 to 23: do not match their checksum; encode again"]


@pytest.mark.slow
def test_merge(th, pictures, encoded, tmp_path):
    for label in ("circle", "stripe", "cross"):
        (tmp_path / f"{label}.txt").write_text("".join(f"{label}/{number}.png\n" for number in range(8)))
        th(
            "encode",
            pictures,
            "-o",
            tmp_path / f"{label}.h5",
            "--model",
            "phash",
            "--list",
            tmp_path / f"{label}.txt",
        )
    parts = [tmp_path / f"{label}.h5" for label in ("circle", "cross", "stripe")]
    done = th("codes", "merge", *parts, "-o", tmp_path / "all.h5")
    assert f"wrote {tmp_path / 'all.h5'}: 24 codes from 3 files" in done.stderr
    assert digest(tmp_path / "all.h5") == digest(encoded)
    th("codes", "merge", *parts, "-o", parts[0])
    assert digest(parts[0]) == digest(encoded)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_merge_stopped_in_the_middle(forks, encoded, tmp_path, how):
    output = tmp_path / "all.h5"
    write_codes(output, Codes(np.zeros((1, 8), np.uint8), Records([b"old"]), ModelRef("m", "d", 64)))
    before = output.read_bytes()
    moment = ("transhash.codes.writer", "CodesWriter.extend", 2)
    done = run_until(forks, moment, how, "codes", "merge", *[encoded] * 3, "-o", output)
    assert done.returncode == (-9 if how == signal.SIGKILL else 130)
    assert output.read_bytes() == before
    if how == signal.SIGINT:
        assert os.listdir(tmp_path) == ["all.h5"]


@pytest.mark.slow
def test_export_and_import_give_the_same_file(th, encoded, pictures, tmp_path):
    table = tmp_path / "c.parquet"
    assert f"wrote {table}: 24 rows" in th("codes", "export", encoded, "-o", table).stderr
    th("codes", "import", table, "-o", tmp_path / "parquet.h5")
    assert digest(tmp_path / "parquet.h5") == digest(encoded)
    th("codes", "export", encoded, "-o", tmp_path / "c.csv")
    th("codes", "import", tmp_path / "c.csv", "-o", tmp_path / "csv.h5", "--model", "phash", "--root", pictures)
    with open_codes(encoded) as one, open_codes(tmp_path / "csv.h5") as other:
        np.testing.assert_array_equal(one.segments, other.segments)
        assert replace(one.header, origins=None) == other.header  # CSV does not say which source was encoded
    with open(tmp_path / "c.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [os.fsdecode(path) for path in read_codes(encoded).records.paths]
    assert [row["code"] for row in rows] == [code.tobytes().hex() for code in read_codes(encoded).packed]


@pytest.mark.slow
def test_codes_of_another_method(th, tmp_path):
    """An array of signs, and the lists of the hashing literature."""
    signs = np.random.default_rng(0).standard_normal((6, 16))
    np.save(tmp_path / "signs.npy", signs)
    (tmp_path / "database.txt").write_text("".join(f"images/{n}.jpg {n % 2} 1 {n // 3}\n" for n in range(6)))
    (tmp_path / "classes.txt").write_text("sky\nsea\nbird\n")
    th("codes", "import", "signs.npy", "-o", "c.h5", "--model", "hashnet", "--list", "database.txt", cwd=tmp_path)
    codes = read_codes(tmp_path / "c.h5")
    assert codes.model == ModelRef("hashnet", "hashnet", 16)
    assert [codes.records.names(row) for row in (0, 4)] == [("sea",), ("sea", "bird")]
    np.testing.assert_array_equal(np.unpackbits(codes.packed, axis=1), signs > 0)
    th("codes", "export", "c.h5", "-o", "packed.npy", cwd=tmp_path)
    th("codes", "import", "packed.npy", "-o", "d.h5", "--model", "hashnet", cwd=tmp_path)
    th("codes", "merge", "c.h5", "d.h5", "-o", "both.h5", cwd=tmp_path)
    assert verify_codes(tmp_path / "both.h5").rows == 12
    done = th("eval", "c.h5", "--queries", "c.h5", cwd=tmp_path)
    assert "mAP" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["info", "none.h5"], 2, "'none.h5' does not exist"),
        (["info", "note.txt"], 1, "note.txt: not a codes file"),
        (["verify", "note.txt"], 1, "note.txt: not a codes file"),
        (["verify"], 2, "Missing argument"),
        (["merge", "c.h5"], 2, "--output"),
        (["merge", "c.h5", "other.h5", "-o", "out.h5"], 1, "c.h5 was made by"),
        (["merge", "c.h5", "-o", "note.txt"], 1, "not a codes file"),
        (["export", "c.h5", "-o", "c.txt"], 2, "a name that ends in .csv, .npy, .parquet, .db, .ndjson"),
        (
            ["export", "c.h5", "-o", "c.ndjson"],
            1,
            "name the database that will load it: elasticsearch, opensearch, vespa",
        ),
        (["export", "c.h5", "-o", "c.csv", "--for", "vespa"], 1, "this format has no variants"),
        (["export", "c.h5", "-o", "mine.csv"], 1, "not an earlier export"),
        (["export", "note.txt", "-o", "out.csv"], 1, "not a codes file"),
        (["import", "note.txt", "-o", "out.h5"], 2, "a name that ends in .csv, .npy, .parquet"),
        (["import", "mine.csv", "-o", "out.h5", "--model", "m"], 1, "mine.csv: line 1"),
        (["import", "c.npy", "-o", "out.h5"], 1, "--model NAME"),
        (["import", "c.npy", "-o", "out.h5", "--model", "none.safetensors"], 1, "no such hasher"),
        (["import", "c.npy", "-o", "out.h5", "--model", "phash", "--bits", "32"], 1, "not codes of 32 bits"),
        (["import", "c.npy", "-o", "note.txt", "--model", "m"], 1, "not a codes file"),
        (["import", "c.npy", "-o", "out.h5", "--model", "m", "--list", "list.txt"], 1, "list has 1 path;"),
        (["import", "mine.csv", "-o", "out.h5", "--model", "m", "--bits", "8"], 2, "apply only to .npy files"),
    ],
)
def test_misuse_gives_one_line(th, encoded, tmp_path, arguments, code, message):
    (tmp_path / "c.h5").write_bytes(encoded.read_bytes())
    write_codes(tmp_path / "other.h5", Codes(np.zeros((1, 8), np.uint8), Records([b"x"]), ModelRef("m", "d", 64)))
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "mine.csv").write_text("name,size\n")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    np.save(tmp_path / "c.npy", np.full((3, 8), 7, np.uint8))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = th("codes", *arguments, cwd=tmp_path, code=code)
    errors = [line for line in done.stderr.splitlines() if not line.endswith("left")]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("Error: ")
    assert message in errors[0]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_without_pyarrow(encoded, tmp_path):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        f"sys.argv = ['th', 'codes', 'export', {str(encoded)!r}, '-o', 'c.parquet']\n"
        "from transhash_cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: Parquet needs pyarrow; install it with: pip install 'transhash[parquet]'"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("c.csv", 0), ("c.csv", 40), ("c.npy", 40), ("c.parquet", 40), ("c.h5", 0), ("c.h5", 40), ("merged.h5", 40)],
)
def test_full_disk_leaves_nothing(full_disk, large, tmp_path, name, blocks):
    """A limit on file size stands in for a full disk."""
    target = tmp_path / "out" / name
    target.parent.mkdir()
    if name == "c.h5":
        np.save(tmp_path / "c.npy", np.full((10**5, 8), 7, np.uint8))
        arguments = ["import", tmp_path / "c.npy", "--model", "m"]
    else:
        arguments = ["merge" if name == "merged.h5" else "export", large]
    done = full_disk(blocks, "codes", *arguments, "-o", target)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "File too large" in last
    assert str(target) in last
    assert "Traceback" not in done.stderr
    assert os.listdir(target.parent) == []
