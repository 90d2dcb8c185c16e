"""Run a method in a subprocess: `Worker` sends tasks and `serve` answers, one line of JSON each.

Methods take turns, but do not share memory or crashes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from transhash.errors import one_line

from . import methods
from .collection import Collection
from .machine import REPOSITORY, peak_memory

_WARM_UP = 5  # single queries before the timed ones


class Failed(Exception):
    """The method raised an error or its process ended; the message is the reason, in one line."""


class Worker:
    """A subprocess that runs one method; a context manager that ends it."""

    def __init__(self, method: str, threads: int, uri: str = "") -> None:
        """Start the process."""
        counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        passive = {"OMP_WAIT_POLICY": "passive"}  # a waiting process must not spin
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", method, str(threads), uri],
            cwd=REPOSITORY,
            env={**os.environ, **counts, **passive},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, task: str, **arguments: Any) -> Any:
        """Run a task of `_Server` and return its answer. Raises Failed."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps([task, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise Failed(f"its process ended with {code}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["value"]

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no error message"


class _Server:
    """The tasks of a worker, by name."""

    def __init__(self, method: methods.Method) -> None:
        self._method = method
        self._queries: NDArray[Any] = np.empty((0, 0))

    def build(self, collection: list[Any], folder: str) -> dict[str, Any]:
        """Build and save an index; return the build seconds, peak memory in MiB, bytes on disk and parameters."""
        rows = Collection(Path(collection[0]), *collection[1:])
        began = time.perf_counter()
        params = self._method.build(rows)
        seconds = time.perf_counter() - began
        self._method.save(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        return {"seconds": seconds, "MiB": peak_memory(), "bytes": size, "params": params}

    def load(self, folder: str, queries: str) -> list[int]:
        """Load a saved index and the queries; return the values of the search parameter to try."""
        self._method.load(Path(folder))
        self._queries = np.load(queries)
        return self._method.parameter_values()

    def batch(self, k: int, value: int, found: str = "") -> float:
        """Search all queries at once and return the seconds; `found` is a file for the ids, or empty."""
        began = time.perf_counter()
        ids = self._method.search(self._queries, k, value)
        seconds = time.perf_counter() - began
        if found:
            np.save(found, ids)
        return seconds

    def single(self, k: int, value: int, count: int) -> list[float]:
        """Search `count` queries one at a time, and return the milliseconds of each."""
        times = []
        for place in range(-_WARM_UP, count):
            query = self._queries[place % len(self._queries)][None]
            began = time.perf_counter()
            self._method.search(query, k, value)
            if place >= 0:
                times.append(1000 * (time.perf_counter() - began))
        return times

    def answers(self, k: int, value: int, found: str) -> list[float]:
        """Search every query, one at a time; write the ids to the file `found` and return the seconds of each."""
        times, ids = [], []
        for query in self._queries[:, None]:
            began = time.perf_counter()
            ids.append(self._method.search(query, k, value))
            times.append(time.perf_counter() - began)
        np.save(found, np.concatenate(ids))
        return times

    def peak(self) -> float:
        """Return the peak memory of the process in MiB."""
        return peak_memory()

    def drop(self) -> None:
        """Remove the data that the method stored on a server."""
        self._method.drop()


def serve(method: str, threads: int, uri: str, tasks: IO[str], answers: IO[str]) -> None:
    """Run tasks and write their answers until the input ends."""
    server = None
    for line in tasks:
        task, arguments = json.loads(line)
        try:
            kind = methods.find(method)
            import_module(kind.package)  # "peak" as the first task then measures the library alone
            server = server or _Server(kind(threads, uri))
            run: Callable[..., Any] = getattr(server, task)
            answer = {"value": run(**arguments)}
        except Exception as error:  # any error of a library is reported as the reason
            answer = {"error": f"{type(error).__name__}: {one_line(error)}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries must not print into the answers
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.stdin, pipe)
