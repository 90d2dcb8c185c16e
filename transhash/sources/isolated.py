"""Read files in a child process with limited memory, because damaged files can crash the library that reads them.

The child sends frames: a line of JSON, then the number of bytes that it announces.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from ..errors import SourceError, one_line
from ..system import memory
from ..system.files import display
from .base import Described, Item, Skipped, file_item
from .names import below, together

_PATIENCE = 120  # seconds for the next row
_MEMORY = 1 << 32  # bytes of memory for reading; the pages of Parquet files can be large
_MAX_LINE = 1 << 25
_EXTRAS = {"parquet": "pyarrow"}  # TransHash's extras, and the package that each installs
_MODEST = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Frame = dict[str, Any]


class IsolatedSource(Described):
    """The images in files of one kind, read by a child process.

    If a file cannot be read completely, the rest of it is skipped. A reader is a module of this package with two
    functions: ``count(path)`` and ``rows(path, name)``, which yields items and may raise anything.
    """

    def __init__(self, reader: str, paths: Sequence[str | Path]) -> None:
        """Take one or more files, in order, for the reader of that name.

        Raises SourceError if a package that it needs is not installed.
        """
        if reader in _EXTRAS and find_spec(_EXTRAS[reader]) is None:
            install = f"pip install 'transhash[{reader}]'"
            raise SourceError(f"{paths[0]}: needs {_EXTRAS[reader]}; install it with: {install}")
        self.root, self._names = below(paths)
        self.description = f"images in {together(paths, f'{reader} files')}"
        self._reader = reader

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the images, file by file."""
        for name in self._names:
            with _frames("rows", self._reader, self.root, [name]) as frames:
                for frame, data in frames:
                    yield self._item(frame, data)

    @property
    def origins(self) -> tuple[bytes, ...]:
        """The files, relative to the root."""
        return tuple(self._names)

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self._names)

    def subset(self, which: slice) -> Self:
        """Return a source of the selected files, with the same root."""
        selected = copy(self)
        selected._names = self._names[which]
        return selected

    def count(self) -> int:
        """Return the number of images according to the file headers."""
        with _frames("count", self._reader, self.root, self._names) as frames:
            return sum(frame.get("count", 1) for frame, _ in frames)

    def _item(self, frame: Frame, data: bytes) -> Item | Skipped:
        path = frame["path"].encode("latin-1")
        if "reason" in frame:
            return Skipped(path, frame["reason"])
        labels = tuple(frame["labels"])
        if frame["bytes"] is None:
            return file_item(self.root, path, labels)
        if "shape" not in frame:
            return Item(path, labels, data)
        return Item(path, labels, np.frombuffer(data, np.uint8).reshape(frame["shape"]))


@contextmanager
def _frames(task: str, reader: str, root: bytes, names: Sequence[bytes]) -> Iterator[Iterator[tuple[Frame, bytes]]]:
    """Start a process that reads files, and yield its frames; end it when the block ends."""
    home = str(Path(__file__).parents[2])
    paths = [home, *filter(None, sys.path)]  # not the working directory, which is not trusted
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __package__, task, reader, *map(os.fsdecode, (root, *names))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_MODEST, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        yield _received(process, names)
    finally:
        process.kill()
        process.communicate()


def _received(process: subprocess.Popen[bytes], names: Sequence[bytes]) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frames of files; if they end early, yield a frame that skips the file.

    Raises SourceError if a signal ended the process, which is not the file's fault.
    """
    pipe = process.stdout
    assert pipe is not None
    for name in names:
        while "end" not in (frame := _line(pipe)):
            size = frame.get("bytes") or 0
            data = pipe.read(size)
            if not frame or len(data) < size:
                process.kill()
                if process.wait() in (-signal.SIGINT, -signal.SIGTERM):
                    raise SourceError(
                        f"{display(name)}: the process that reads it was terminated; run the same command again"
                    )
                yield {**_place(name), "reason": "damaged: reading it crashed, or took too long"}, b""
                return
            yield frame, data


def _line(pipe: IO[bytes]) -> Frame:
    line = pipe.readline(_MAX_LINE)
    return json.loads(line) if line.endswith(b"\n") else {}


def serve() -> None:
    """Run the child process. Its arguments are ``count`` or ``rows``, the reader, the root and the names."""
    task, reader, *places = sys.argv[1:]
    root, *names = map(os.fsencode, places)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    module = import_module(f".{reader}", __package__)
    memory.limit_growth(_MEMORY)
    for name in names:
        path = os.fsdecode(os.path.join(root, name))
        _alarm(_PATIENCE)
        try:
            if task == "count":
                _send({"count": module.count(path)})
            else:
                _send_rows(module.rows(path, name))
        except MemoryError:
            _send({**_place(name), "reason": "needs more memory than a source may use"})
        except Exception as error:  # libraries may raise anything on a damaged file
            _send({**_place(name), "reason": one_line(error)})
        _alarm(0)
        _send({"end": True})


def _send_rows(items: Iterator[Item | Skipped]) -> None:
    while True:
        _alarm(_PATIENCE)
        item = next(items, None)
        _alarm(0)
        if item is None:
            return
        if isinstance(item, Skipped):
            _send({**_place(item.path), "reason": item.reason})
        elif item.data is None:
            _send({**_place(item.path), "labels": item.labels, "bytes": None})
        elif isinstance(item.data, bytes):
            _send({**_place(item.path), "labels": item.labels, "bytes": len(item.data)}, item.data)
        else:
            assert isinstance(item.data, np.ndarray)
            about = {"labels": item.labels, "bytes": item.data.nbytes, "shape": item.data.shape}
            _send({**_place(item.path), **about}, item.data.tobytes())


def _alarm(seconds: int) -> None:
    """End this process after the given number of seconds; 0 cancels the alarm."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _place(path: bytes) -> Frame:
    return {"path": path.decode("latin-1")}


def _send(frame: Frame, data: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(frame).encode() + b"\n")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
