"""Near-duplicates: search for altered copies of photos among the originals, by perceptual hash."""

import io
from collections.abc import Iterator

import click
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from transhash import Index, encode, hamming, load_hasher
from transhash.sources import decode

_NEAR = 10  # distance in bits up to which a copy counts as near


@click.command("duplicates")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
def command(folder: str) -> None:
    """Alter every photo of FOLDER in five ways, and search for the original of each copy."""
    hasher = load_hasher("phash")
    originals = encode(folder, hasher)
    index = Index.build(originals)
    distances = hamming.distances(originals.packed, originals.packed).astype(int)
    np.fill_diagonal(distances, 64)
    print(f"{len(index)} photos; the two most similar differ by {distances.min()} of 64 bits\n")
    print(f"| copy | original found first | median distance | within {_NEAR} bits |")
    print("|---|---:|---:|---:|")
    codes: dict[str, list[np.ndarray]] = {}
    for row in range(len(index)):
        for name, copy in copies(decode.read(index.path(row))):
            codes.setdefault(name, []).append(hasher.encode(hasher.preprocess(copy)[None])[0])
    for name, parts in codes.items():
        first = index.kneighbors(np.stack(parts), 1)[1][:, 0] == np.arange(len(index))
        distances = hamming.distances(np.stack(parts), originals.packed).diagonal()
        print(f"| {name} | {first.mean():.3f} | {np.median(distances):.0f} | {(distances <= _NEAR).mean():.3f} |")


def copies(photo: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Yield altered copies of a photo as (name of the edit, image)."""
    width, height = photo.size
    border = (width // 20, height // 20, width - width // 20, height - height // 20)
    yield "half the size", _jpeg(photo.resize((width // 2, height // 2)), 90)
    yield "JPEG quality 30", _jpeg(photo, 30)
    yield "30 % brighter", _jpeg(ImageEnhance.Brightness(photo).enhance(1.3), 90)
    yield "5 % cut off each side", _jpeg(photo.crop(border), 90)
    yield "mirrored", _jpeg(ImageOps.mirror(photo), 90)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")
