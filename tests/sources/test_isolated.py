import os
import resource
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from transhash.errors import SourceError
from transhash.sources import Item, Skipped, isolated
from transhash.sources.isolated import IsolatedSource

pytestmark = pytest.mark.slow


@pytest.fixture
def processes(monkeypatch):
    """The started processes."""
    started = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(isolated.subprocess, "Popen", Watched)
    return started


@pytest.fixture
def arrays(tmp_path):
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.zeros((4, 700, 700), np.uint8))  # more than the capacity of a pipe
    return [tmp_path / "a.npy", tmp_path / "b.npy"]


def test_what_crashes_is_skipped_and_the_next_file_read(arrays, processes):
    found = []
    for item in IsolatedSource("npy", arrays):
        found.append(item)
        if len(processes) == 1:
            processes[0].send_signal(signal.SIGSEGV)
    assert found[0] == Item(b"a.npy/0")
    crash = len(found) - 5
    assert found[crash] == Skipped(b"a.npy", "damaged: reading it crashed, or took too long")
    assert found[crash + 1 :] == [Item(b"b.npy/%d" % row) for row in range(4)]


def test_no_process_outlives_the_reading(arrays, processes):
    items = iter(IsolatedSource("npy", arrays))
    next(items)
    assert [process.poll() for process in processes] == [None]
    items.close()
    assert processes[0].poll() == -signal.SIGKILL
    assert IsolatedSource("npy", arrays).count() == 8
    assert all(process.poll() is not None for process in processes)


def test_memory_is_bounded(tmp_path, monkeypatch):
    """An existing limit is kept; the usual one is too large for a test."""
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (2, 13_000, 13_000, 3)}
        )
        file.truncate(2 << 30)

    def limited(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        most = (800 << 20, resource.getrlimit(resource.RLIMIT_AS)[1])
        kwargs["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_AS, most)
        return Popen(*args, **kwargs)

    Popen = subprocess.Popen
    monkeypatch.setattr(isolated.subprocess, "Popen", limited)
    assert list(IsolatedSource("npy", [tmp_path / "a.npy"])) == [
        Skipped(b"a.npy", "needs more memory than a source may use")
    ]


def test_the_working_directory_is_not_imported_from(arrays, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("import os; os.mkdir('trap')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert len(list(IsolatedSource("npy", arrays))) == 8
    assert not (tmp_path / "trap").exists()


def test_names_are_bytes(arrays, tmp_path):
    name = os.fsencode(tmp_path) + b"/new\nline \xff.npy"
    os.rename(arrays[0], name)
    assert next(iter(IsolatedSource("npy", [os.fsdecode(name)]))) == Item(b"new\nline \xff.npy/0")


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(isolated, "find_spec", lambda name: None)
    with pytest.raises(
        SourceError, match=r"a.parquet: needs pyarrow; install it with: pip install 'transhash\[parquet\]'"
    ):
        IsolatedSource("parquet", [tmp_path / "a.parquet"])
    IsolatedSource("npy", [tmp_path / "a.npy"])
