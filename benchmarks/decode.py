"""Images per second of decoding alone: `th encode` with a hasher that does nothing, compared with other decoders."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from PIL import Image

from transhash import ModelRef, encode_to_file
from transhash.errors import ImageError, ResultsError
from transhash.hashers.preprocessing import Preprocessing
from transhash.sources.base import Item
from transhash.sources.decode import prepare
from transhash.sources.folder import FolderSource

from . import suites

_HALF = (0.5, 0.5, 0.5)

Decode = Callable[[Path], object]


class _Nothing:
    """Takes images like a network's hasher, and returns zeros."""

    ref = ModelRef("nothing", "nothing", 64, "{}")

    def __init__(self, side: int) -> None:
        self._side = side

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return Preprocessing(_HALF, _HALF).square(image, self._side)

    def encode(self, batch: np.ndarray) -> np.ndarray:
        return np.zeros((len(batch), 8), np.uint8)


@click.command("decode")
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--side", type=suites.COUNT, default=224, show_default=True, help="Side of the network's input in pixels."
)
@click.option(
    "--rounds",
    type=suites.COUNT,
    default=5,
    show_default=True,
    help="Rounds; in each, every method decodes all photos.",
)
def command(photos: Path, side: int, rounds: int) -> None:
    """Decode and scale the JPEG files of PHOTOS with one thread and with all cores, in alternating rounds."""
    source = FolderSource(photos, include=["*.jp*g", "*.JP*G"])
    paths = [photos / os.fsdecode(item.path) for item in source.entries()]
    if not paths:
        raise ResultsError(f"{photos}: no JPEG files")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    what = (
        f"{suites.counted(len(paths), 'photo')}, {suites.counted(side, 'pixel')}, {suites.counted(rounds, 'round')}"
    )
    print(f"{what}; medians, in images/s\n")
    print("| method | threads | images/s | per second of processor time |")
    print("|---|---:|---:|---:|")
    for threads in sorted({1, cores}):
        runs = dict(_runs(source, paths, side, threads))
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                clocks = time.perf_counter(), time.process_time()
                run()
                figures[name].append((time.perf_counter() - clocks[0], time.process_time() - clocks[1]))
        for name, found in figures.items():
            passed, busy = (len(paths) / median(part) for part in zip(*found, strict=True))
            print(f"| {name} | {threads} | {passed:.0f} | {busy:.0f} |", flush=True)


def _runs(
    source: FolderSource, paths: list[Path], side: int, threads: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    hasher = _Nothing(side)
    if threads > 1:  # it uses all cores
        yield "th encode, without a network", partial(_encoded, source, hasher)
    for name, decode in _decoders(hasher, side):
        yield name, partial(_decoded, paths, decode, threads)


def _decoders(hasher: _Nothing, side: int) -> Iterator[tuple[str, Decode]]:
    """Yield functions that read a file and scale it to a square, with equal filters where they exist."""
    yield "TransHash's decoder", lambda path: prepare(b"", Item(os.fsencode(path), ()), hasher.preprocess)
    yield "Pillow", lambda path: hasher.preprocess(Image.open(path).convert("RGB"))
    if find_spec("torchvision"):
        yield "torchvision", _torchvision(side)
    if find_spec("cv2"):
        yield "OpenCV", _opencv(side)


def _torchvision(side: int) -> Decode:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    scale = v2.Compose([v2.Resize(side, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(side)])
    return lambda path: scale(decode_jpeg(read_file(str(path)), ImageReadMode.RGB))


def _opencv(side: int) -> Decode:
    import cv2

    cv2.setNumThreads(1)

    def decode(path: Path) -> Any:
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert pixels is not None, path
        height, width = pixels.shape[:2]
        scale = side / min(height, width)
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = ((length - side) // 2 for length in small.shape[:2])
        return cv2.cvtColor(small[top : top + side, left : left + side], cv2.COLOR_BGR2RGB)

    return decode


def _encoded(source: FolderSource, hasher: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        encode_to_file(source, Path(folder) / "codes.h5", hasher)


def _decoded(paths: list[Path], decode: Decode, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for path, done in [(path, pool.submit(decode, path)) for path in paths]:
            try:
                done.result()
            except ImageError as error:
                raise ImageError(f"{path}: {error}") from None
