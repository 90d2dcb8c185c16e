"""Compare `encode_to_file` with the forward pass of the same model alone, and with a plain timm script."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from transhash.encoding.run import BATCH_SIZE, encode_to_file
from transhash.errors import ResultsError
from transhash.hashers import load_hasher
from transhash.hashers.architecture import Architecture
from transhash.hashers.precision import has_bf16
from transhash.hashers.transhash import TransHasher, start
from transhash.report.records import TableRow
from transhash.sources.folder import FolderSource

from . import config, suites
from .figures import spread
from .runs import Results, as_settings

_OURS = "files to codes: th encode"
_ALONE = "model alone, images in memory"
_FAST = "files to codes: th encode --fast"
_SCRIPT = "files to codes: timm and a DataLoader"


@dataclass(frozen=True)
class Encode:
    """The settings of the suite.

    Attributes:
        images: number of images; the available files are repeated as often as needed.
        backbone: name of a plain vision transformer of timm.
        image_size: side of the input in pixels.
        repeats: rounds; in each, every method is measured once.
        threads: threads of the network.
    """

    images: int
    backbone: str
    image_size: int
    repeats: int
    threads: int


@click.command("encode")
@suites.options("encode")
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
def command(config_path: Path | None, small: bool, output: Path, photos: Path | None) -> None:
    """Measure images per second from files to codes, and their ratio to the rate of the model alone.

    PHOTOS is a folder of JPEG files. Without it, the two photos that scikit-learn ships are used.
    """
    chosen = config.load(Encode, "encode", small, config_path)
    folder = photos or _shipped()
    found = sorted(path.absolute() for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise ResultsError(f"{folder}: no JPEG files")
    torch.set_num_threads(chosen.threads)
    settings = as_settings(chosen) | {"arithmetic": "bf16" if has_bf16() else "fp32", "batch": BATCH_SIZE}
    settings |= {"files": len(found), "photos": "given" if photos else "of scikit-learn"}
    results = Results.open(output, "encode", "Encoding: from image files to codes", settings)
    dataset = f"{chosen.images:,} images of {len(found):,} files"
    if results.has(dataset, [_ALONE, _OURS, _SCRIPT]):
        suites.show_progress(f"{dataset}: measured before")
        return
    rates = measure(chosen, found)
    params = {"backbone": chosen.backbone, "pixels": chosen.image_size}
    rows = []
    for method, rounds in rates.items():
        ratios = [rate / alone for rate, alone in zip(rounds, rates[_ALONE], strict=True)]
        values = {"images/s": spread(rounds), "ratio to the model alone": spread(ratios)}
        family = "codes" if method in (_OURS, _FAST) else "peer"
        rows.append(TableRow(results.run.id, "Encoding", dataset, method, family, params, values))
        suites.show_progress(f"  {method}: {values['images/s'].value:.1f} images/s")
    results.write(rows)


def measure(chosen: Encode, found: list[Path]) -> dict[str, list[float]]:
    """Return the images per second of each method, round by round."""
    patch = timm.create_model(chosen.backbone, pretrained=False).patch_embed.patch_size[0]
    hasher = start(Architecture(64, chosen.backbone, chosen.image_size, stride=patch, groups=0))
    hasher.bf16 = has_bf16()
    with tempfile.TemporaryDirectory() as folder:
        names = repeated(found, Path(folder), chosen.images)
        ready = pixels(names[: 4 * BATCH_SIZE], hasher)
        methods: dict[str, Callable[[], int]] = {
            _ALONE: lambda: forward(hasher, ready, chosen.images),
            _OURS: lambda: encode_to_file(FolderSource(folder), Path(folder) / "codes.h5", hasher).rows,
            _SCRIPT: lambda: timm_script(hasher, names),
        }
        if find_spec("openvino"):
            hasher.save(Path(folder) / "hasher.safetensors")
            fast = load_hasher(Path(folder) / "hasher.safetensors", fast=True)
            methods[_FAST] = lambda: encode_to_file(FolderSource(folder), Path(folder) / "fast.h5", fast).rows
        rates: dict[str, list[float]] = {name: [] for name in methods}
        forward(hasher, ready, min(BATCH_SIZE, chosen.images))
        for _ in range(chosen.repeats):
            for name, method in methods.items():
                began = time.perf_counter()
                done = method()
                rates[name].append(done / (time.perf_counter() - began))
    return rates


def _shipped() -> Path:
    """Return the folder of scikit-learn's photos. Raises ResultsError if scikit-learn is not installed."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise ResultsError("without PHOTOS, the photos of scikit-learn are needed: pip install '.[bench]'")
    return Path(found.origin).parent / "datasets" / "images"


def repeated(found: list[Path], folder: Path, count: int) -> list[Path]:
    """Create `count` links in a folder, cycling through the files in `found`, and return their paths."""
    names = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        name.symlink_to(found[number % len(found)])
    return names


def pixels(names: list[Path], hasher: TransHasher) -> list[np.ndarray[Any, Any]]:
    """Return batches of preprocessed images, (b, h, w, 3) each."""
    ready = [hasher.preprocess(Image.open(name).convert("RGB")) for name in names]
    return [np.stack(ready[place : place + BATCH_SIZE]) for place in range(0, len(ready), BATCH_SIZE)]


def forward(hasher: TransHasher, batches: list[np.ndarray[Any, Any]], count: int) -> int:
    """Run only the network, over normalised tensors in memory; return the number of images."""
    tensors = [torch.from_numpy(batch).permute(0, 3, 1, 2).float().sub(128).div(64).contiguous() for batch in batches]
    done = 0
    with hasher.computing() as net:
        while done < count:
            images = tensors[done // BATCH_SIZE % len(tensors)][: count - done]
            net(images.to(hasher.device)).float().cpu()
            done += len(images)
    return done


def timm_script(hasher: TransHasher, names: list[Path]) -> int:
    """Encode with timm and a DataLoader with two workers (one on a single core); return the number of codes."""
    config = timm.data.resolve_model_data_config(hasher.net.backbone)
    config |= {"input_size": (3, hasher.architecture.image_size, hasher.architecture.image_size), "crop_pct": 1.0}
    dataset = _Photos(names, timm.data.create_transform(**config))
    codes = []
    with torch.inference_mode(), torch.autocast(hasher.device.type, torch.bfloat16, enabled=hasher.bf16):
        for batch in DataLoader(dataset, BATCH_SIZE, num_workers=min(2, torch.get_num_threads())):
            codes.append(np.packbits(hasher.net(batch.to(hasher.device)).float().cpu().numpy() > 0, axis=1))
    return sum(map(len, codes))


class _Photos(Dataset[torch.Tensor]):
    def __init__(self, names: list[Path], transform: Any) -> None:
        self._names = names
        self._transform = transform

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self._transform(Image.open(self._names[place]).convert("RGB"))
