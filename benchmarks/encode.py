"""Encoding: `encode_to_file` beside the same model's forward pass alone, and beside the script one writes by hand."""

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from transhash.encoding import BATCH_SIZE, encode_to_file
from transhash.hashers.architecture import Architecture
from transhash.hashers.precision import has_bf16
from transhash.hashers.transhash import TransHasher, start
from transhash.sources.folder import Folder


@click.command("encode")
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-n", "count", default=1000, show_default=True, help="Images; those in PHOTOS come again and again.")
@click.option("--backbone", default="vit_small_patch16_224", show_default=True, help="Plain transformer of timm.")
@click.option("--image-size", default=224, show_default=True, help="Side of the input.")
@click.option("--rounds", default=3, show_default=True, help="Times that the methods take turns.")
def command(photos: Path, count: int, backbone: str, image_size: int, rounds: int) -> None:
    """Images a second from files to codes, as a part of the bare model's."""
    patch = timm.create_model(backbone, pretrained=False).patch_embed.patch_size[0]
    hasher = start(Architecture(64, backbone, image_size, stride=patch, groups=0))
    hasher.bf16 = has_bf16()
    with tempfile.TemporaryDirectory() as folder:
        names = repeated(photos, Path(folder), count)
        ready = pixels(names[: 4 * BATCH_SIZE], hasher)
        methods: dict[str, Callable[[], int]] = {
            "model alone, images in memory": lambda: forward(hasher, ready, count),
            "files to codes: th encode": lambda: (
                encode_to_file(Folder(folder), hasher, Path(folder) / "codes.h5").rows
            ),
            "files to codes: timm and a DataLoader": lambda: by_hand(hasher, names),
        }
        rates: dict[str, list[float]] = {name: [] for name in methods}
        for _ in range(rounds):
            for name, method in methods.items():
                began = time.perf_counter()
                done = method()
                rates[name].append(done / (time.perf_counter() - began))
    print(
        f"{count} photos, {backbone} at {image_size} px, {'bf16' if hasher.bf16 else 'fp32'}, batches of {BATCH_SIZE}"
    )
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, timm {timm.__version__}"
    )
    print("\n| method | images/s: median (min to max) | ratio to the model alone: median (min to max) |")
    print("|---|---:|---:|")
    alone = rates["model alone, images in memory"]
    for name, own in rates.items():
        ratios = [one / other for one, other in zip(own, alone, strict=True)]
        print(f"| {name} | {_spread(own, 1)} | {_spread(ratios, 3)} |")


def repeated(photos: Path, folder: Path, count: int) -> list[Path]:
    """Link `count` images into a folder, those of `photos` again and again, and return their paths."""
    found = [path.absolute() for path in sorted(photos.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    names = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        name.symlink_to(found[number % len(found)])
    return names


def pixels(names: list[Path], hasher: TransHasher) -> list[np.ndarray[Any, Any]]:
    """Return batches of preprocessed images."""
    ready = [hasher.preprocess(Image.open(name).convert("RGB")) for name in names]
    return [np.stack(ready[place : place + BATCH_SIZE]) for place in range(0, len(ready), BATCH_SIZE)]


def forward(hasher: TransHasher, batches: list[np.ndarray[Any, Any]], count: int) -> int:
    """Run the network over normalised tensors that lie in memory, and nothing else."""
    tensors = [torch.from_numpy(batch).permute(0, 3, 1, 2).float().sub(128).div(64).contiguous() for batch in batches]
    done = 0
    with hasher.computing() as net:
        while done < count:
            images = tensors[done // BATCH_SIZE % len(tensors)][: count - done]
            net(images.to(hasher.device)).float().cpu()
            done += len(images)
    return done


def by_hand(hasher: TransHasher, names: list[Path]) -> int:
    """Encode as a script does that has timm, a Dataset and a DataLoader: two workers, or none on one core."""
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


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
