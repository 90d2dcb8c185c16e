"""Peak memory of an encoding run, which must not grow with the number of rows."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transhash.codes import ModelRef
from transhash.encoding.run import encode_to_file
from transhash.sources import Item

from . import suites

_KIB = 1024


@click.command("memory")
@click.option(
    "-n",
    "counts",
    type=suites.COUNT,
    multiple=True,
    default=(10_000, 1_000_000),
    show_default=True,
    help="Rows; repeatable.",
)
@click.option("--child", is_flag=True, hidden=True)
def command(counts: tuple[int, ...], child: bool) -> None:
    """Peak memory of `encode_to_file` with synthetic images and a trivial hasher, in one process per row count."""
    if child:
        print(json.dumps(measure(counts[0])))
        return
    print("| rows | peak memory, MiB | ratio to the first | rows/s |")
    print("|---:|---:|---:|---:|")
    first = 0.0
    for count in counts:
        words = [sys.executable, "-m", "benchmarks.memory", "--child", "-n", str(count)]
        peak, rate = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        first = first or peak
        print(f"| {count:,} | {peak / _KIB:.0f} | {peak / first:.3f} | {rate:.0f} |")


def measure(count: int) -> tuple[int, float]:
    """Encode `count` images; return the peak memory of this process in KiB, and rows per second."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        encode_to_file(_Squares(count), Path(folder) / "codes.h5", _Corner(), batch_size=256)
    status = Path("/proc/self/status").read_text()  # getrusage would include the parent's memory
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak), count / (time.perf_counter() - began)


class _Squares:
    """Single-colour images with names of realistic length and one of 1,000 labels each."""

    root = b"/photos"
    description = "synthetic images"

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[Item]:
        for number in range(self._count):
            pixels = np.full((8, 8, 3), number % 256, np.uint8)
            yield Item(
                b"folder %04d/picture %09d.jpg" % (number // 1000, number), (f"{number % 1000}",), pixels, 1, 1
            )

    def count(self) -> int:
        return self._count


class _Corner:
    """A hasher whose code is the first 64 bits of an image."""

    ref = ModelRef("corner", "corner", 64)

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        return np.asarray(image).ravel()[:8]

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        return batch


if __name__ == "__main__":
    command()
