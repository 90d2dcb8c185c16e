"""Time and peak memory of changing an index: adding and removing rows, and synchronising all of them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

import transhash
from transhash.codes import ModelRef
from transhash.codes.writer import CodesWriter

from . import suites

CHANGES = ("add", "remove", "sync", "compact")
TYPES = ("flat", "mih", "ivf")  # which rows can be removed from

_KIB = 1024
_BLOCK = 1 << 14


@dataclass(frozen=True)
class Cost:
    """What a change costs: its seconds, those of a processor, and its peak memory in MiB."""

    seconds: float
    busy: float
    peak: float


@click.command("edits")
@click.option(
    "-n",
    "counts",
    type=suites.COUNT,
    multiple=True,
    default=(1_000_000,),
    show_default=True,
    help="Rows; repeatable.",
)
@click.option(
    "--type",
    "kinds",
    type=click.Choice(TYPES),
    multiple=True,
    default=("flat", "ivf"),
    show_default=True,
    help="Index type; repeatable.",
)
@click.option("--bits", type=suites.BITS, default=64, show_default=True, help="Bits per code.")
@click.option(
    "--changed",
    type=suites.COUNT,
    default=1_000,
    show_default=True,
    help="Rows that each change adds, removes or replaces.",
)
@click.option("--folder", type=click.Path(file_okay=False), help="Keep files here, and use those of an earlier run.")
@click.option("--child", nargs=3, hidden=True)
def command(
    counts: tuple[int, ...],
    kinds: tuple[str, ...],
    bits: int,
    changed: int,
    folder: str | None,
    child: tuple[str, str, str] | None,
) -> None:
    """Change an index, each time in a process of its own, whose start is part of the time.

    compact merges the changes with the index. Below 65,536 rows, none are kept beside it: each change rewrites it.
    """
    if child:
        print(json.dumps(_change(*child)))
        return
    if changed > min(counts):
        rows = suites.counted(min(counts), "row")
        raise click.UsageError(f"--changed {changed}: more than the {rows} of -n")
    if folder:
        _check_folder(Path(folder))
    print("| type | rows | change | seconds | of a processor | peak memory, MiB |")
    print("|---|---:|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        for count in counts:
            for kind in kinds:
                for change, cost in measured(Path(folder or temporary), count, bits, kind, changed):
                    figures = f"{cost.seconds:.2f} | {cost.busy:.2f} | {cost.peak:.0f}"
                    print(f"| {kind} | {count:,} | {change} | {figures} |", flush=True)


def measured(place: Path, count: int, bits: int, kind: str, changed: int) -> Iterator[tuple[str, Cost]]:
    """Build an index of `count` random codes below a folder, change some rows in every way, and yield the costs."""
    place.mkdir(parents=True, exist_ok=True)
    files, index = _files(place, count, bits, changed), place / f"{kind}.index"
    _run("build", files["all"], f"{index}:{kind}")
    for change in CHANGES:
        yield change, _run(change, files.get(change, index), str(index))


def _check_folder(folder: Path) -> None:
    """Create a folder. Raises BadParameter if no file can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise click.BadParameter(f"{folder}: {error.strerror}", param_hint="'--folder'") from None


def _run(change: str, file: Path, index: str) -> Cost:
    """Make a change in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.edits", "--child", change, str(file), index]
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{index}: {change}: {done.stderr.strip().splitlines()[-1]}")
    busy, peak = json.loads(done.stdout)
    return Cost(time.perf_counter() - began, busy, peak / _KIB)


def _change(change: str, file: str, location: str) -> tuple[float, int]:
    """Make a change; return the seconds of a processor and the peak memory in KiB of this process."""
    if change == "build":
        folder, _, kind = location.rpartition(":")
        transhash.build_index(file, folder, type=kind)
        return 0, 0
    index = transhash.open(location)
    changes: dict[str, Callable[[], object]] = {
        "add": lambda: index.add(file),
        "remove": lambda: index.remove(transhash.Filter(paths=Path(file).read_text().splitlines())),
        "sync": lambda: index.sync(file),
        "compact": lambda: getattr(index, "compact", int)(),
    }
    changes[change]()
    status = Path("/proc/self/status").read_text()  # getrusage would include the parent's memory
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    return sum(os.times()[:4]), peak  # with the child process that reads a codes file first


def _files(place: Path, count: int, bits: int, changed: int) -> dict[str, Path]:
    """Write the codes files, and the list of paths to remove."""
    files = {name: place / f"{count}-{bits}-{changed}-{name}" for name in ("all", "add", "remove", "sync")}
    if all(file.exists() for file in files.values()):
        return files
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (count, bits // 8), dtype=np.uint8)
    more = rng.integers(0, 256, (changed, bits // 8), dtype=np.uint8)
    gone = rng.choice(count, changed, replace=False)
    _write(files["all"], codes, range(count))
    _write(files["add"], more, range(count, count + changed))
    codes[rng.choice(count, changed, replace=False)] = more
    _write(files["sync"], codes, range(count))
    files["remove"].write_text("\n".join(f"/photos/{_path(number).decode()}" for number in gone))
    return files


def _write(path: Path, codes: np.ndarray, numbers: range) -> None:
    model = ModelRef("random", "random", codes.shape[1] * 8)
    with CodesWriter.create(path, model, b"/photos", labels=1, stats=True) as writer:
        for start in range(0, len(codes), _BLOCK):
            own = numbers[start : start + _BLOCK]
            known = np.array(own, np.int64)
            labels = [(f"{number % 1000}",) for number in own]
            writer.append(codes[start : start + _BLOCK], list(_paths(own)), labels, sizes=known, mtimes=known)


def _paths(numbers: range) -> Iterator[bytes]:
    return map(_path, numbers)


def _path(number: int) -> bytes:
    return b"folder %04d/picture %09d.jpg" % (number // 1000, number)


if __name__ == "__main__":
    command()
