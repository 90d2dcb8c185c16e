"""`th serve` under load: concurrent queries by id and by image, compared with the bare batched encoder.

The bare encoder decodes and hashes the same images in this process, in batches of 64, while the server is idle. They
are measured alternately, round by round, so that a slow moment of the machine affects both.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from PIL import Image

import transhash
from transhash import Codes
from transhash.codes import Records
from transhash.errors import ResultsError
from transhash.hashers import Hasher

from . import suites
from .clients import Load, as_request, load, upload

_PHOTOS = 64
_SIDES = 500, 375
_BATCH = 64
_HEAD = (
    "| queries | clients | queries/s | of the bare encoder | p50, ms | p95, ms | p99, ms |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)


@click.command("serve")
@click.option("--codes", type=suites.COUNT, default=1_000_000, show_default=True, help="Images in the index.")
@click.option("--clients", type=suites.COUNT, default=64, show_default=True, help="Concurrent clients.")
@click.option("--backbone", default="vit_small_patch16_224", show_default=True, help="Backbone of the hasher.")
@click.option("--images", type=suites.COUNT, default=256, show_default=True, help="Queries by image per round.")
@click.option("--ids", type=suites.COUNT, default=10_000, show_default=True, help="Queries by id per round.")
@click.option("--rounds", type=suites.COUNT, default=3, show_default=True, help="Rounds; medians are reported.")
@click.option(
    "--soak",
    type=click.IntRange(min=2),
    default=100_000,
    show_default=True,
    help="Queries by id while memory is monitored.",
)
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
def command(
    codes: int, clients: int, backbone: str, images: int, ids: int, rounds: int, soak: int, photos: Path | None
) -> None:
    """Measure queries per second, latency and memory of `th serve`.

    PHOTOS is a folder of JPEG files to query with. Without it, random images of 500 x 375 pixels are generated.
    """
    from transhash.hashers.transhash import start  # imports torch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hasher = start(transhash.Architecture(64, backbone, 224, stride=16, groups=0))
        hasher.save(folder / "hasher.safetensors")
        _build(folder, codes)
        pictures = _pictures(photos)
        by_image = [upload(picture, '{"k": 10}') for picture in pictures]
        by_id = [
            as_request("application/json", b'{"id": %d, "k": 10}' % id)
            for id in range(0, codes, max(1, codes // 100))
        ]
        with _server(folder) as (address, process):
            load(address, by_image[:8], 8, 8, folder)  # loads the hasher
            bare, image_loads, id_loads = [], [], []
            for _ in range(rounds):
                bare.append(_bare(hasher, pictures, images))
                image_loads.append(load(address, by_image, clients, images, folder))
                id_loads.append(load(address, by_id, clients, ids, folder))
            _report(statistics.median(bare), clients, {"by image": image_loads, "by id": id_loads})
            _soak(process, address, by_id, clients, soak, folder)


def _build(folder: Path, count: int) -> None:
    """Write an index of `count` random codes of the hasher's model."""
    model = transhash.load_hasher(folder / "hasher.safetensors", 1).ref
    packed = np.random.default_rng(0).integers(0, 256, (count, 8), dtype=np.uint8)
    records = Records([b"folder-%03d/%07d.jpg" % (row % 1000, row) for row in range(count)], b"/photos")
    transhash.build_index(Codes(packed, records, model), folder / "photos.index")


def _pictures(photos: Path | None) -> list[bytes]:
    """Return up to 64 JPEG files to query with, as bytes."""
    if photos is not None:
        found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        if not found:
            raise ResultsError(f"{photos}: no JPEG files")
        return [path.read_bytes() for path in found[:_PHOTOS]]
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(_PHOTOS):
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        out = io.BytesIO()
        small.resize(_SIDES, Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
        pictures.append(out.getvalue())
    return pictures


@contextmanager
def _server(folder: Path) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """Start `th serve`; yield its address and process."""
    command = [sys.executable, "-c", "from transhash_cli.main import main; main()", "serve"]
    words = [str(folder / "photos.index"), "--port", "0", "--model", str(folder / "hasher.safetensors")]
    process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        if not line.startswith("serving at "):
            raise ResultsError(f"th serve: {line.strip()}")
        yield line.split()[2], process
    finally:
        process.terminate()
        process.communicate()


def _bare(hasher: Hasher, pictures: list[bytes], count: int) -> float:
    """Return the images per second of the encoder without a server."""
    images = [pictures[number % len(pictures)] for number in range(count)]
    began = time.perf_counter()
    transhash.encode(images, hasher, batch_size=_BATCH)
    return count / (time.perf_counter() - began)


def _report(bare: float, clients: int, loads: dict[str, list[Load]]) -> None:
    print(f"bare batched encoder: {bare:.1f} images/s; {os.cpu_count()} cores, medians of the rounds\n\n{_HEAD}")
    for name, rounds in loads.items():
        rate, p50, p95, p99 = (
            statistics.median(getattr(result, field) for result in rounds) for field in ("rate", "p50", "p95", "p99")
        )
        times = " | ".join(f"{1000 * seconds:.1f}" for seconds in (p50, p95, p99))
        print(f"| {name} | {clients} | {rate:.1f} | {rate / bare:.2f} | {times} |", flush=True)


def _soak(
    process: "subprocess.Popen[str]", address: str, requests: list[bytes], clients: int, count: int, folder: Path
) -> None:
    """Print the memory of the server before, halfway through and after `count` queries."""
    sizes = [_resident(process.pid)]
    for _ in range(2):
        load(address, requests, clients, count // 2, folder)
        sizes.append(_resident(process.pid))
    before, half, after = (size / 2**20 for size in sizes)
    print(f"\nmemory of the server: {before:.0f} MiB; after {count // 2:,} more queries {half:.0f} MiB, ", end="")
    print(f"after {count:,} {after:.0f} MiB")


def _resident(process: int) -> int:
    """Return the resident memory of a process in bytes. Raises OSError where the system has no /proc."""
    pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
