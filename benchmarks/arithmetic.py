"""A hasher's network alone, in several arithmetics and on several engines: speed, and bits that differ."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from PIL import Image

from transhash import export_hasher, load_hasher
from transhash.demo import photographs
from transhash.errors import ImageError, ResultsError
from transhash.hashers.openvino_runtime import core
from transhash.hashers.transhash import TransHasher
from transhash.sources import decode

from . import suites
from .token_merging import MergingBlocks

_SHIPPED = Path(photographs.__file__).with_name("photos")
_EXACT = "torch, float32"
_MERGED = (4, 12)  # tokens that token merging takes away in each block

Batch = NDArray[np.uint8]
Encode = Callable[[Batch], Batch]


@click.command("arithmetic")
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="copy", show_default=True, help="A hasher.")
@click.option(
    "--images",
    type=suites.COUNT,
    default=64,
    show_default=True,
    help="Number of photos; every round computes one batch.",
)
@click.option("--batch", type=suites.COUNT, default=16, show_default=True, help="Images in a batch.")
@click.option(
    "--rounds",
    type=suites.COUNT,
    default=5,
    show_default=True,
    help="Rounds; in each, every method computes one batch.",
)
@click.option("--compile", "compiled", is_flag=True, help="Also torch.compile, which takes a minute to start.")
def command(photos: Path, model: str, images: int, batch: int, rounds: int, compiled: bool) -> None:
    """Encode JPEG files of PHOTOS, in alternating rounds with one thread; times are those of the processor."""
    torch.set_num_threads(1)
    hasher = load_hasher(model)
    if not isinstance(hasher, TransHasher):
        raise click.UsageError(f"--model {model}: not a vision transformer, which this benchmark needs")
    paths = sorted(photos.rglob("*.jp*g")) + sorted(photos.rglob("*.JP*G"))
    if not paths:
        raise ResultsError(f"{photos}: no JPEG files")
    pixels = _pixels(paths, hasher, images)
    with tempfile.TemporaryDirectory() as folder:
        encoders = dict(methods(model, hasher, Path(folder), compiled))
        seconds = measure(encoders, pixels[:batch], rounds)
        numbers = suites.counted(len(pixels), "photo"), suites.counted(rounds, "round")
        print(f"{numbers[0]}, batches of {min(batch, len(pixels))}, {numbers[1]}\n")
        print("| method | images/s of processor time | ratio to torch in float32 | bits that differ |")
        print("|---|---:|---:|---:|")
        for row in rows(encoders, seconds, pixels, batch):
            print(row)


def methods(model: str, hasher: TransHasher, folder: Path, compiled: bool) -> Iterator[tuple[str, Encode]]:
    """Yield names and functions from pixels (n, side, side, 3) to packed codes."""
    yield _EXACT, hasher.encode
    half = load_hasher(model)
    assert isinstance(half, TransHasher)
    half.bf16 = True  # also where the processor has no instructions for it
    yield "torch, bfloat16", half.encode
    if compiled:
        twin = load_hasher(model)
        assert isinstance(twin, TransHasher)
        twin.net.compile()
        yield "torch.compile, float32", twin.encode
    for r in _MERGED:
        merging = load_hasher(model)
        assert isinstance(merging, TransHasher)
        merging.net.backbone.blocks = MergingBlocks(merging.net.backbone.blocks, r)
        yield f"torch, float32, token merging, r = {r}", merging.encode
    plain = export_hasher(model, folder / "fp32.onnx")
    yield "ONNX Runtime, float32", _on_onnxruntime(plain)
    with _without_warnings():
        quantize_dynamic(plain, folder / "dynamic.onnx")
        quantize_static(plain, folder / "static.onnx", _Photographs(hasher), op_types_to_quantize=["MatMul", "Gemm"])
    yield "ONNX Runtime, int8, dynamic", _on_onnxruntime(folder / "dynamic.onnx")
    yield "ONNX Runtime, int8, static", _on_onnxruntime(folder / "static.onnx")
    yield "OpenVINO, float32", _on_openvino(plain, "f32")
    yield "OpenVINO, bfloat16", _on_openvino(plain, "bf16")
    yield "--fast (OpenVINO, int8, static)", load_hasher(model, fast=True).encode


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide warnings that are logged: ONNX Runtime advises to preprocess a network, and prints parts of it."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def measure(encoders: dict[str, Encode], batch: Batch, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of processor time of each method, round by round; the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for number in range(rounds + 1):
        for name, encode in encoders.items():
            began = time.process_time()
            encode(batch)
            if number:
                seconds[name].append(time.process_time() - began)
        suites.show_progress(f"round {number} of {rounds}")
    return seconds


def rows(encoders: dict[str, Encode], seconds: dict[str, list[float]], pixels: Batch, batch: int) -> Iterator[str]:
    """Yield a row of the table for each method; `seconds` are those of the first `batch` of `pixels`, or of all."""
    exact = encoders[_EXACT](pixels)
    for name, found in seconds.items():
        speed = min(batch, len(pixels)) / median(found)
        ratio = median(one / own for one, own in zip(seconds[_EXACT], found, strict=True))
        parts = [encoders[name](pixels[place : place + batch]) for place in range(0, len(pixels), batch)]
        flips = np.unpackbits(exact ^ np.concatenate(parts))
        yield f"| {name} | {speed:.1f} | {ratio:.2f} | {flips.mean():.4f} |"


class _Photographs(CalibrationDataReader):  # type: ignore[misc]
    """The photographs that come with the package."""

    def __init__(self, hasher: TransHasher) -> None:
        self._pixels = iter(_pixels(sorted(_SHIPPED.glob("*.jpg"))[:8], hasher, 8))

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._pixels, None)
        return None if image is None else {"images": np.stack([image, image])}


def _pixels(paths: list[Path], hasher: TransHasher, count: int) -> Batch:
    return np.stack([hasher.preprocess(_read(path)) for path in paths[:count]])


def _read(path: Path) -> Image.Image:
    try:
        return decode.read(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def _on_onnxruntime(path: Path) -> Encode:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"images": batch})[0]


def _on_openvino(path: Path, precision: str) -> Encode:
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
    compiled = core().compile_model(path, "CPU", settings)
    return lambda batch: np.array(compiled(batch)[0])
