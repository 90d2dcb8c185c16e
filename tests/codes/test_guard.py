import ctypes
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from transhash import export_codes
from transhash.codes import guard, read_codes, verify_codes
from transhash.codes.guard import guarded
from transhash.errors import CodesError

from .rows import many, read, write

pytestmark = [pytest.mark.slow, pytest.mark.guarded]

REPOSITORY = Path(__file__).parent.parent.parent
GOLDEN = REPOSITORY / "tests" / "golden"

# Mutations of codes-v0.h5 on which HDF5 2.0 loops forever or crashes.
ENDLESS = {2184: 51}
CRASHING = {
    371: 255, 1049: 255, 2497: 21, 2567: 255, 3269: 1, 3327: 1, 3569: 1, 5593: 1, 7945: 255, 42315: 132, 42893: 125,
    43329: 248, 44293: 46, 45050: 1, 46067: 1, 47936: 1, 48902: 196, 49130: 1, 49824: 255, 50627: 1, 83597: 1,
    83810: 0, 85314: 1, 85540: 1, 85733: 0,
}  # fmt: skip


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.5)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "c.h5", many(5))


def test_answers_come_back(file):
    reports = []
    _, there = guarded(lambda report: [report(1, 2), os.getpid()], file, lambda *rows: reports.append(rows))
    assert there != os.getpid()
    assert reports == [(1, 2)]


def test_errors_come_back(file):
    def fail(report):
        raise CodesError("odd \udcff\npath")

    with pytest.raises(CodesError, match="odd \udcff\npath"):
        guarded(fail, file)


def test_errors_of_the_system_are_raised_here_and_others_are_damage(file):
    def fail(report):
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError, match="Permission denied"):
        guarded(fail, file)

    def break_(report):
        raise KeyError("codes")

    with pytest.raises(CodesError, match="damaged: reading it raised KeyError"):
        guarded(break_, file)


def test_a_crash_is_damage(file, capfd):
    with pytest.raises(CodesError, match=r"c\.h5: damaged: reading it crashed"):
        guarded(lambda report: ctypes.string_at(0), file)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", [lambda: time.sleep(10**6), lambda: [None for _ in iter(int, 1)]])
def test_standing_still_is_damage(file, impatient, how):
    with pytest.raises(CodesError, match="took too long"):
        guarded(lambda report: how(), file)


def test_going_on_is_none(file, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 1.0)

    def slowly(report):
        for step in range(15):
            time.sleep(0.1)
            report(step, 15)
        return "done"

    assert guarded(slowly, file) == "done"


def test_waiting_for_a_processor_does_not_count(file, monkeypatch):
    """The machine is so busy that the child process waits longer than an intact file would take."""
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    monkeypatch.setattr(guard, "_queued", lambda process: time.monotonic())

    def sleep(report):
        time.sleep(0.6)
        return "done"

    assert guarded(sleep, file) == "done"


def test_memory_is_limited(file):
    with pytest.raises(CodesError, match="asks for more memory"):
        guarded(lambda report: len(np.ones(1 << 28)), file)


def test_no_child_is_left(file, impatient):
    before = psutil.Process().children()  # those of other tests
    for task in (lambda report: "", lambda report: ctypes.string_at(0), lambda report: time.sleep(10**6)):
        with suppress(CodesError):
            guarded(task, file)
        assert psutil.Process().children() == before


def test_without_fork_the_task_runs_here(file, monkeypatch):
    monkeypatch.setattr(guard, "_FORKS", False)
    assert guarded(lambda report: os.getpid(), file) == os.getpid()
    assert read_codes(file).packed.shape == (5, 8)


def test_no_room_for_a_child(file, monkeypatch):
    def full():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", full)
    with pytest.raises(CodesError, match="cannot start the process that checks it"):
        guarded(lambda report: os.getpid(), file)


def changed(changes, path):
    data = bytearray((GOLDEN / "codes-v0.h5").read_bytes())
    for place, byte in changes.items():
        data[place] = byte
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("changes", [ENDLESS, CRASHING])
def test_files_that_hdf5_does_not_survive(tmp_path, impatient, changes):
    path = changed(changes, tmp_path / "c.h5")
    for attempt in (read_codes, verify_codes):
        with pytest.raises(CodesError) as caught:
            attempt(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def mutant(data, rng):
    """Change some bytes or a block of a file, or truncate it."""
    data = bytearray(data)
    how = rng.integers(5)
    length = int(rng.integers(1, 600))
    start = int(rng.integers(len(data) - length))
    if how == 0:
        del data[start:]
    elif how == 1:
        data[start : start + length] = rng.bytes(length)
    elif how == 2:
        data[start : start + length] = bytes([rng.choice([0, 255])]) * length
    else:
        for place in rng.integers(8000 if how == 3 else len(data), size=rng.integers(1, 9)):
            data[place] = rng.integers(256)
    return bytes(data)


def read_mutants(version, place):
    """Fail for any error but CodesError."""
    guard.PATIENCE = 0.5
    original, path = (GOLDEN / f"codes-{version}.h5").read_bytes(), Path(place)
    whole = verify_codes(GOLDEN / f"codes-{version}.h5").digest if version == "v1" else None
    refused = 0
    for seed in range(60):
        path.write_bytes(mutant(original, np.random.default_rng(seed)))
        try:
            read_codes(path, embeddings=True)
            read(path)
            found = verify_codes(path)
        except CodesError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert version == "v0" or found.digest == whole
    assert 6 < refused < 54


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_mutants_are_read_or_refused(tmp_path, version):
    """Any other error, a crash or a hang fails this test. It runs in a small process, which forks fast."""
    code = "import sys; from tests.codes.test_guard import read_mutants; read_mutants(*sys.argv[1:])"
    words = [sys.executable, "-W", "error", "-c", code, version, tmp_path / "c.h5"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


IMPORTED = """
import sys
from pathlib import Path
from transhash.codes import guard, reader, verifying
from transhash.codes.exchange import parquet_table

def imported(task, path, room=1 << 30):
    known = set(sys.modules)
    return set(guard.guarded(lambda report: [task(report), sorted(sys.modules)][1], path, room=room)) - known

codes, table = map(Path, sys.argv[1:])
assert not imported(lambda report: reader._walk(codes, True, report), codes)
assert not imported(lambda report: reader._claim(codes), codes)
assert not imported(lambda report: verifying._compare(codes, report), codes)
parquet_table._pyarrow()
assert not imported(lambda report: parquet_table._check(table, report), table, parquet_table._ROOM)
"""


def test_the_child_imports_nothing(tmp_path):
    """Otherwise it would wait forever for a module that another thread was importing at the fork."""
    write(tmp_path / "c.h5", many(5))
    export_codes(tmp_path / "c.h5", tmp_path / "c.parquet")
    subprocess.run(
        [sys.executable, "-c", IMPORTED, tmp_path / "c.h5", tmp_path / "c.parquet"], check=True, timeout=600
    )


def test_beside_busy_threads(tmp_path):
    """No intact file is refused in a process that runs PyTorch, FAISS and OpenMP."""
    write(tmp_path / "c.h5", many(5))
    code = f"""
import threading, time
import faiss, numpy as np, torch
from transhash.codes import read_codes, verify_codes
torch.set_num_threads(2)
done = threading.Event()

def multiply():
    matrix = torch.randn(300, 300)
    while not done.is_set():
        matrix = (matrix @ matrix).tanh()

def search():
    codes = np.random.default_rng(0).integers(0, 256, (5000, 8), dtype=np.uint8)
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    while not done.is_set():
        index.search(codes[:100], 10)

def read():
    for _ in range(8):
        assert len(read_codes({str(tmp_path / "c.h5")!r})) == 5

busy = [threading.Thread(target=work) for work in (multiply, search)]
readers = [threading.Thread(target=read) for _ in range(3)]
for thread in busy + readers:
    thread.start()
for _ in range(8):
    read_codes({str(tmp_path / "c.h5")!r})
for thread in readers:
    thread.join()
done.set()
print("whole")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert (done.stdout, done.returncode) == ("whole\n", 0), done.stderr
