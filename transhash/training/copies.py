"""Training images for copy detection: two edited views of each image in a batch, without labels."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from ..encoding.run import BATCH_SIZE, encode
from ..errors import ImageError, TrainingError
from ..evaluation.average_precision import average_precision
from ..evaluation.levels import Levels
from ..hamming import counts
from ..hashers.rarity import Rarity
from ..hashers.transhash import TransHasher
from ..sources import ImageList, decode
from ..system.files import display
from .config import TrainConfig
from .copy_edits import view
from .data import Draw, Sample

_GENTLE = 0.25  # strength of the edits of an image's first view
_STRONG = 0.35, 1.0  # range of the strength for its second view
_TRIES = 100  # images tried in place of one that cannot be read


def hold_out(source: ImageList, part: float, seed: int) -> tuple[ImageList, ImageList]:
    """Split off a random fraction `part` of the images; return the kept images and the held-out ones."""
    count = round(part * len(source.images))
    held = set(np.random.default_rng(seed).permutation(len(source.images))[: count if count > 1 else 0].tolist())
    kept = [image for place, image in enumerate(source.images) if place not in held]
    return ImageList(source.root, kept), ImageList(source.root, [source.images[place] for place in sorted(held)])


class EditedImages(Dataset[Sample]):
    """The images of a source, edited: gently in the first view of a batch, strongly in the second."""

    def __init__(self, source: ImageList, hasher: TransHasher, config: TrainConfig) -> None:
        """Prepare views in the input size of `hasher`."""
        self._source = source
        self._seed = config.seed
        self._side = hasher.architecture.image_size

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source.images)

    def __getitem__(self, draw: Draw) -> Sample:
        """Read and edit one image. Raises TrainingError if neither it nor any replacement can be read.

        If an image cannot be read, both of its views show the same replacement.
        """
        skipped: list[tuple[bytes, str]] = []
        image = self._read(draw.place, np.random.default_rng([self._seed, draw.epoch, draw.place]), skipped)
        rng = np.random.default_rng([self._seed, *draw])
        strength = rng.uniform(*_STRONG) if draw.turn else _GENTLE
        edited = view(image, self._side, strength, rng, lambda: self._read(int(rng.integers(len(self))), rng, []))
        pixels = torch.from_numpy(np.array(edited)).permute(2, 0, 1)
        return Sample(pixels, torch.tensor([float(draw.place)]), skipped)

    def _read(self, place: int, rng: np.random.Generator, skipped: list[tuple[bytes, str]]) -> Image.Image:
        """Read an image; if that fails, try others until one can be read."""
        for _ in range(_TRIES):
            item = self._source.images[place]
            try:
                return decode.open_item(self._source.root, item)
            except ImageError as error:
                skipped.append((item.path, str(error)))
                place = int(rng.integers(len(self)))
        first, reason = skipped[0] if skipped else (item.path, "unreadable")
        raise TrainingError(f"{display(first)!r} and others cannot be read ({reason}); remove them")


class TwinBatches(Sampler[list[Draw]]):
    """All batches of a run, in order: random images, each included twice."""

    def __init__(self, images: int, config: TrainConfig, start: int = 0, share: slice = slice(None)) -> None:
        """Distribute image numbers over batches, starting with batch `start`; keep a `share` of each batch."""
        self._images = images
        self._half = min(config.batch_size // 2, images)
        self.size = 2 * self._half
        self._config = config
        self._start = start
        self._share = share
        self.per_epoch = max(1, images // self._half)

    def __len__(self) -> int:
        """Return the number of remaining batches."""
        return self._config.epochs * self.per_epoch - self._start

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield the batches."""
        first, skip = divmod(self._start, self.per_epoch)
        for epoch in range(first, self._config.epochs):
            order = np.random.default_rng([self._config.seed, epoch]).permutation(self._images).tolist()
            for batch in range(skip if epoch == first else 0, self.per_epoch):
                places = order[batch * self._half : (batch + 1) * self._half]
                yield [Draw(epoch, place, turn) for place in places for turn in (0, 1)][self._share]


def validate(hasher: TransHasher, held: ImageList, seed: int) -> float:
    """Return the mAP of searching the held-out images with a strongly edited copy of each one.

    Raises SourceError if none of them can be read.
    """
    found = encode(held, hasher)
    readable = {path: place for place, path in enumerate(found.records.paths)}
    config = TrainConfig(loss="copies", seed=seed)
    images = [item for item in held.images if item.path in readable]
    views = EditedImages(ImageList(held.root, images), hasher, config)
    edited = (views[Draw(0, place, 1)].pixels.permute(1, 2, 0).numpy() for place in range(len(images)))
    queries = np.concatenate([hasher.encode(np.stack(batch)) for batch in batched(edited, BATCH_SIZE)])
    numbers = np.array([readable[item.path] for item in images], np.int32)
    originals = np.arange(len(found), dtype=np.int32)
    return float(average_precision(Levels(*counts(queries, found.packed, numbers, originals))).mean())


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of `size` items; the last one may be shorter."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def rarity(hasher: TransHasher, held: ImageList) -> tuple[Rarity, ...]:
    """Measure the distances between held-out images at every code length; return () if there are too few images."""
    if len(held.images) < 2:
        return ()
    packed: Any = encode(held, hasher).packed
    lengths = hasher.architecture.lengths
    measured = [Rarity.measured(np.ascontiguousarray(packed[:, : bits // 8])) for bits in lengths]
    return tuple(found for found in measured if found)
