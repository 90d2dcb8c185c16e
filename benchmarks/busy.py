"""Training, encoding and searching while another process keeps one core busy, with and without spinning threads.

By default, idle OpenMP threads spin. When another process occupies a core, they take time from the thread that they
wait for. The result is the time with one busy core, divided by the time on half the cores of an idle machine.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import click

from . import suites
from .machine import REPOSITORY

TASKS = ("training", "encoding", "searching")
POLICIES = {"passive": "PASSIVE", "default": ""}

_CODES, _QUERIES = 300_000, 2_000
_SPIN = "while True: pass"
_WORKER = "import sys; from benchmarks import busy; busy.work(*sys.argv[1:])"


@click.command("busy")
@click.option(
    "--rounds", type=suites.COUNT, default=3, show_default=True, help="Repetitions; the median is reported."
)
@click.option(
    "--images", type=suites.COUNT, default=300, show_default=True, help="Number of digits to train on and to encode."
)
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Measure only this task; repeatable.")
def command(rounds: int, images: int, tasks: tuple[str, ...]) -> None:
    """Time training, encoding and searching while one core is busy."""
    cores = os.cpu_count() or 1
    machine = f"{suites.counted(cores, 'core')}, {suites.counted(images, 'image')}"
    searches = f"{_QUERIES:,} queries among {_CODES:,} codes"
    print(f"{machine}; {searches}; median of {suites.counted(rounds, 'round')}\n")
    print("| task | waiting threads | idle machine, s | beside a busy core, s | half the cores, s | busy / half |")
    print("|---|---|---:|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        _write_images(Path(folder), images)
        for task in tasks or TASKS:
            with _worker(task, folder, POLICIES["passive"], max(1, cores // 2)) as run:
                half = statistics.median(run() for _ in range(rounds))
            for name, policy in POLICIES.items():
                with _worker(task, folder, policy, cores) as run:
                    idle, beside = _paired(run, rounds)
                times = f"{idle:.2f} | {beside:.2f} | {half:.2f} | {beside / half:.2f}"
                print(f"| {task} | {name} | {times} |", flush=True)


def _write_images(folder: Path, count: int) -> None:
    from transhash.datasets import digits

    paths = [path for path, _ in digits.write(folder / "images")]
    (folder / "list.txt").write_text("\n".join(paths[:count]) + "\n")


def _paired(run: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Return the median seconds alone and with a busy core, measured alternately."""
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(run())
        busy = subprocess.Popen([sys.executable, "-c", _SPIN])
        try:
            beside.append(run())
        finally:
            busy.kill()
            busy.wait()
    return statistics.median(alone), statistics.median(beside)


@contextmanager
def _worker(task: str, folder: str, policy: str, threads: int) -> Iterator[Callable[[], float]]:
    """Start a process for a task, and yield a function that runs the task there once and returns the seconds."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {"OMP_NUM_THREADS": str(threads)} | ({"OMP_WAIT_POLICY": policy} if policy else {})
    command = [sys.executable, "-c", _WORKER, task, folder]
    with TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env=env, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            yield partial(_run, process, errors)
        finally:
            process.kill()
            process.communicate()


def _run(process: "subprocess.Popen[str]", errors: IO[bytes]) -> float:
    """Run the task of a worker once; return the seconds. Raises ClickException if its process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write("run\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if answer:
        return float(answer)
    code = process.wait()
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines() or ["no error message"]
    raise click.ClickException(f"the process that is measured ended with {code}: {lines[-1][:300]}")


def work(task: str, folder: str) -> None:
    """Run a task in this process: once to warm up, then once for every line of standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries must not print into the answers
    job = {"training": _training, "encoding": _encoding, "searching": _searching}[task](Path(folder))
    job()
    for _ in sys.stdin:
        started = time.perf_counter()
        job()
        print(time.perf_counter() - started, file=answers, flush=True)


def _training(folder: Path) -> Callable[[], object]:
    import transhash
    from transhash.sources import open_source

    images = open_source(folder / "images", names=folder / "list.txt")
    architecture = transhash.Architecture(backbone="test_vit", image_size=32, patch_size=16, stride=4, groups=4)
    config = transhash.TrainConfig(epochs=1, batch_size=50, precision="fp32", validation=0)
    return lambda: transhash.train(images, architecture=architecture, config=config)


def _encoding(folder: Path) -> Callable[[], object]:
    import transhash
    from transhash.sources import open_source

    hasher = _training(folder)()
    images = open_source(folder / "images", names=folder / "list.txt")
    return lambda: transhash.encode(images, hasher)  # type: ignore[arg-type]


def _searching(folder: Path) -> Callable[[], object]:
    from transhash import backends

    from .scan import clustered

    codes, queries = clustered(_CODES, 64, _QUERIES)
    index = backends.load("faiss").build(codes, type="ivf", params={})
    return lambda: index.search(queries, 10)
