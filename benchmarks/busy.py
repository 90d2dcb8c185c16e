"""Training, encoding and searching beside a process that keeps one core busy, with and without spinning threads.

OpenMP's idle threads spin by default, and so take time from the thread that they wait for when another process has a
core. Measured is the time beside one busy core, as a multiple of the time on half the cores of an idle machine.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

TASKS = ("training", "encoding", "searching")
POLICIES = {"passive": "PASSIVE", "default": ""}

_CODES, _QUERIES = 1_000_000, 4_000
_SPIN = "while True: pass"
_WORKER = "import sys; from benchmarks import busy; busy.work(*sys.argv[1:])"


@click.command("busy")
@click.option("--rounds", default=5, show_default=True, help="Times that each is measured; the median counts.")
@click.option("--images", default=500, show_default=True, help="Digits to train on, and to encode.")
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Measure this only; repeatable.")
def command(rounds: int, images: int, tasks: tuple[str, ...]) -> None:
    """Time of training, encoding and searching beside one busy core."""
    cores = os.cpu_count() or 1
    print(f"{cores} cores, {images} images; {_QUERIES:,} queries among {_CODES:,} codes; median of {rounds} rounds\n")
    print("| task | waiting threads | idle machine, s | beside a busy core, s | half the cores, s | busy / half |")
    print("|---|---|---:|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        _write_images(Path(folder), images)
        for task in tasks or TASKS:
            for name, policy in POLICIES.items():
                with _worker(task, folder, policy, cores) as run:
                    idle, beside = _paired(run, rounds)
                with _worker(task, folder, policy, max(1, cores // 2)) as run:
                    half = statistics.median(run() for _ in range(rounds))
                print(
                    f"| {task} | {name} | {idle:.2f} | {beside:.2f} | {half:.2f} | {beside / half:.2f} |", flush=True
                )


def _write_images(folder: Path, count: int) -> None:
    from transhash.datasets import digits

    paths = [path for path, _ in digits.write(folder / "images")]
    (folder / "list.txt").write_text("\n".join(paths[:count]) + "\n")


def _paired(run: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Return the median seconds alone and beside a busy core, measured in turns."""
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
    """Start a process that is ready for a task, and yield what makes it do that and returns the seconds it took."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {"OMP_NUM_THREADS": str(threads)} | ({"OMP_WAIT_POLICY": policy} if policy else {})
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, task, folder],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    orders, answers = process.stdin, process.stdout

    def run() -> float:
        orders.write("run\n")
        orders.flush()
        return float(answers.readline())

    try:
        yield run
    finally:
        process.kill()
        process.communicate()


def work(task: str, folder: str) -> None:
    """Be the process that a task is measured in: do it once to warm up, then at every line of standard input."""
    job = {"training": _training, "encoding": _encoding, "searching": _searching}[task](Path(folder))
    job()
    for _ in sys.stdin:
        started = time.perf_counter()
        job()
        print(time.perf_counter() - started, flush=True)


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
