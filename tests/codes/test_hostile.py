"""Files made to exhaust memory or time, or that a writer could make and a reader refuse."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from transhash.codes import (
    Codes,
    CodesWriter,
    ModelRef,
    Records,
    exchange,
    merge,
    read_codes,
    verify_codes,
    write_codes,
    writer,
)
from transhash.codes.header import MAX_ROOT
from transhash.errors import CodesError

pytestmark = pytest.mark.guarded

MODEL = ModelRef("phash", "digest", 64)


def small(count=3, **kwargs):
    packed = np.arange(8 * count, dtype=np.uint8).reshape(count, 8)
    return Codes(packed, Records([b"%d.png" % row for row in range(count)], **kwargs), MODEL)


@pytest.mark.parametrize(
    ("root", "share", "message"),
    [(b"x" * (MAX_ROOT + 1), "", "a root of 4,097 bytes"), (b"", "0/1000000", "share '0/1000000': expected I/N")],
)
def test_a_writer_refuses_what_the_reader_would(tmp_path, root, share, message):
    with pytest.raises(CodesError, match=message), CodesWriter.create(tmp_path / "c.h5", MODEL, root, share=share):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("attribute", "value"), [("root", np.zeros(60_000, np.uint8)), ("share", "0/1000000"), ("model", "x" * (1 << 17))]
)
def test_long_attributes_are_refused(tmp_path, attribute, value):
    write_codes(tmp_path / "c.h5", small())
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file.attrs[attribute] = value
    with pytest.raises(CodesError, match="codes file"):
        read_codes(tmp_path / "c.h5")


@pytest.mark.slow
def test_a_file_that_is_all_label_names(tmp_path):
    write_codes(tmp_path / "c.h5", small(labels=np.zeros(3, np.int32), label_names=("a",)))
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        del file["label_names"], file["label_name_offsets"]
        count = 2000
        file.create_dataset("label_names", (count << 16,), np.uint8, chunks=(1 << 20,), compression=9)[:] = 65
        file.create_dataset("label_name_offsets", data=np.arange(count + 1, dtype=np.uint64) << np.uint64(16))
    with pytest.raises(CodesError, match="2000 label names of 131072000 bytes"):
        read_codes(tmp_path / "c.h5")


def test_compressed_codes_are_refused(tmp_path):
    write_codes(tmp_path / "c.h5", small())
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        data = file["codes"][:]
        del file["codes"]
        file.create_dataset("codes", data=data, compression=9)
    with pytest.raises(CodesError, match="codes: compressed"):
        read_codes(tmp_path / "c.h5")


@pytest.mark.slow
def test_long_paths_come_in_small_blocks(tmp_path):
    """10,000 paths of 4 kB are not held at once."""
    paths = [b"x" * 4_000 + b"%d" % row for row in range(10_000)]
    codes = Codes(np.zeros((10_000, 8), np.uint8), Records(paths), MODEL)
    write_codes(tmp_path / "c.h5", codes)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["paths"].id.get_storage_size() < 1 << 20
    stored = read_codes(tmp_path / "c.h5")
    assert max(int(block.paths.offsets[-1]) for block in stored.records.blocks()) <= 1 << 24
    assert list(stored.records.paths) == paths
    assert verify_codes(tmp_path / "c.h5").rows == 10_000


def test_paths_that_no_file_system_has_are_refused(tmp_path, monkeypatch):
    codes = Codes(np.zeros((2, 8), np.uint8), Records([b"x", b"x" * 4097]), MODEL)
    with pytest.raises(CodesError, match="a path of 4,097 bytes: a codes file holds at most 4,096"):
        write_codes(tmp_path / "c.h5", codes)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(writer, "MAX_PATH", 1 << 16)
    write_codes(tmp_path / "c.h5", codes)
    with pytest.raises(CodesError, match=r"rows 0 to 1: damaged \(a path of 4,097 bytes"):
        read_codes(tmp_path / "c.h5")


@pytest.mark.skipif(sys.platform == "darwin" or not hasattr(os, "fork"), reason="the guard needs fork")
def test_the_guard_holds_with_closed_streams(tmp_path):
    """Without handles 0 to 2 the child's pipe would be one of those that it redirects."""
    write_codes(tmp_path / "c.h5", small())
    program = "import os; os.close(0); os.close(1); os.close(2)\n"
    program += "import json, pathlib\nfrom transhash.codes.guard import guarded\n"
    program += "pids = guarded(lambda report: [os.getpid(), os.getppid()], pathlib.Path('c.h5'))\n"
    program += "open('answer', 'w').write(json.dumps([os.getpid(), *pids]))\n"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    here, child, parent = json.loads((tmp_path / "answer").read_text())
    assert here == parent != child


def test_no_child_no_reading(tmp_path, monkeypatch):
    write_codes(tmp_path / "c.h5", small())

    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(CodesError, match="cannot start the process that checks it"):
        read_codes(tmp_path / "c.h5")


@pytest.mark.parametrize(
    "header", [b"(\n", b"(" * 4000, b"{'descr': " + b"[" * 3000, b"\xff" * 100, b"{}", b"1" * 5000]
)
def test_damaged_npy_headers(tmp_path, header):
    header = header.ljust(len(header) + 10) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(CodesError, match=r"not a valid .npy file \(the header is damaged\)"):
        exchange.open_table(tmp_path / "a.npy")


@pytest.mark.slow
@pytest.mark.parametrize("length", [4096, 60_000])
def test_a_small_table_of_long_paths(tmp_path, length):
    """2,000 times the same path: a file of a few hundred bytes."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    paths = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["x" * length]))
    codes = pa.array([b"12345678"] * 2000, pa.binary(8))
    parquet.write_table(pa.table({"path": paths.cast(pa.string()), "code": codes}), tmp_path / "a.parquet")
    if length > 4096:
        with pytest.raises(CodesError, match="a path of 60,000 bytes: at most 4,096 are allowed"):
            exchange.open_table(tmp_path / "a.parquet")
        return
    block = next(exchange.open_table(tmp_path / "a.parquet").blocks)
    assert len({id(path) for path in block.paths}) == 1


def test_csv_with_blank_lines_and_without_ids(tmp_path):
    rows = ["path,code,size,mtime", "a,0011223344556677,5,-631152000000000000", "b,8899aabbccddeeff,,"]
    (tmp_path / "a.csv").write_text("\n" + "\n\n".join(rows) + "\n\n")
    table = exchange.open_table(tmp_path / "a.csv")
    exchange.import_table(table, tmp_path / "c.h5", MODEL)
    stored = read_codes(tmp_path / "c.h5")
    assert stored.records.mtimes.tolist() == [-631152000000000000, -1]


@pytest.mark.parametrize("cell", ["9" * 5000, str(1 << 63), "-2", "x"])
def test_sizes_out_of_range(tmp_path, cell):
    (tmp_path / "a.csv").write_text(f"path,code,size,mtime\na,0011223344556677,{cell},5\n")
    with pytest.raises(CodesError, match="line 2: "):
        exchange.import_table(exchange.open_table(tmp_path / "a.csv"), tmp_path / "c.h5", MODEL)


def test_merging_different_roots_keeps_blocks_small(tmp_path):
    for name, root in (("a", b"/a" * 1000), ("b", b"/b" * 1000)):
        write_codes(tmp_path / f"{name}.h5", small(500, root=root))
    assert merge([(tmp_path / "a.h5", None), (tmp_path / "b.h5", None)], tmp_path / "c.h5") == 1000
