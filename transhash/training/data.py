"""Training images: held out or divided into batches, decoded and augmented.

All randomness is derived from the seed and the position in the run: the order of an epoch from (seed, epoch), the
augmentation of an image from (seed, epoch, image, turn). So a run that resumes needs no generator state, and the
number of worker processes does not change the result.
"""

import hashlib
import random
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.v2 import Compose, InterpolationMode, RandomCrop, Resize

from ..errors import ImageError, TrainingError
from ..hashers.transhash import TransHasher
from ..sources import ImageList, Item, decode
from ..system.child_process import end_with_parent, leave_signals_to_parent, signals_blocked
from ..system.files import display
from .config import TrainConfig

_PREFETCHED = 4  # batches that a worker decodes ahead
_TRIES = 100  # images of a class tried in place of one that cannot be read


class Draw(NamedTuple):
    """An image to read in an epoch; `turn` counts its earlier occurrences in that epoch."""

    epoch: int
    place: int
    turn: int = 0


class Sample(NamedTuple):
    """An augmented image, its classes (classes,) float32, and the unreadable images that it replaces.

    Pixels are (3, H, W): uint8, or float32 and normalised if random erasing is enabled.
    """

    pixels: Tensor
    labels: Tensor
    skipped: list[tuple[bytes, str]]


class TrainingBatch(NamedTuple):
    """Stacked samples: pixels (n, 3, H, W), labels (n, classes), and images that could not be read."""

    pixels: Tensor
    labels: Tensor
    skipped: list[tuple[bytes, str]]


def hold_out(source: ImageList, part: float, seed: int) -> tuple[ImageList, ImageList]:
    """Split off a random fraction `part` of every class; an image with several classes counts towards the first.

    A class too small to hold out two images and keep two is kept whole.

    Returns:
        The kept images, and the held-out ones.
    """
    rng = np.random.default_rng(seed)
    classes: dict[str, list[Item]] = {}
    for image in source.images:
        classes.setdefault(image.labels[0], []).append(image)
    held: set[int] = set()
    for name in sorted(classes):
        size = len(classes[name])
        taken = min(round(part * size), size - 2)
        if taken >= 2:
            held |= {id(classes[name][place]) for place in rng.permutation(size)[:taken]}
    kept = [image for image in source.images if id(image) not in held]
    return ImageList(source.root, kept), ImageList(
        source.root, [image for image in source.images if id(image) in held]
    )


def fingerprint(source: ImageList) -> str:
    """Compute 12 hexadecimal digits that identify these paths and labels, regardless of their order."""
    lines = sorted(
        b"\t".join([image.path, *(name.encode() for name in sorted(image.labels))]) for image in source.images
    )
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:12]


class LabelledImages(Dataset[Sample]):
    """The images of a source, augmented, with their classes as multi-hot vectors.

    An image that cannot be read is replaced by another one of its class, so that batches keep their size.
    """

    def __init__(self, source: ImageList, names: tuple[str, ...], hasher: TransHasher, config: TrainConfig) -> None:
        """Augment images for `hasher` as `config` says. Raises TrainingError if timm does not have the policy."""
        ids = {name: place for place, name in enumerate(names)}
        self._source = source
        self._classes = len(names)
        self._seed = config.seed
        self._policy = config.augment
        self.labels = [[ids[name] for name in image.labels] for image in source.images]
        self.firsts = np.array([labels[0] for labels in self.labels])
        side = hasher.architecture.image_size
        self._square: nn.Module = nn.Identity()
        if config.resize:
            self._square = Compose([Resize(config.resize, InterpolationMode.BICUBIC), RandomCrop(side)])
        try:
            self._transform: Any = create_transform(
                side,
                is_training=True,
                scale=(1.0 if config.resize else config.crop, 1.0),
                ratio=(1.0, 1.0) if config.resize else None,
                hflip=config.flip,
                color_jitter=config.jitter,
                auto_augment=config.augment or None,
                re_prob=config.erase,
                use_prefetcher=not config.erase,  # timm then leaves normalisation to us; erasing comes after it
                interpolation="bicubic",
                mean=hasher.preprocessing.mean,
                std=hasher.preprocessing.std,
            )
        except (AssertionError, KeyError, ValueError) as error:
            raise TrainingError(
                f"augment {config.augment!r}: timm has no such policy; try rand-m9-mstd0.5"
            ) from error

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> Sample:
        """Read and augment one image. Raises TrainingError if neither it nor others of its class can be read."""
        rng = np.random.default_rng([self._seed, *draw])
        place = draw.place
        skipped: list[tuple[bytes, str]] = []
        for _ in range(_TRIES):
            image = self._source.images[place]
            try:
                picture = decode.open_item(self._source.root, image)
            except ImageError as error:
                skipped.append((image.path, str(error)))
                place = int(rng.choice(np.flatnonzero(self.firsts == self.firsts[draw.place])))
                continue
            labels = torch.zeros(self._classes)
            labels[self.labels[place]] = 1
            return Sample(self._augmented(picture, rng), labels, skipped)
        first = display(skipped[0][0])
        raise TrainingError(f"{first!r} and others of its class cannot be read ({skipped[0][1]}); remove them")

    def _augmented(self, picture: Image.Image, rng: np.random.Generator) -> Tensor:
        """Augment an image to pixels (3, H, W); draw again if timm asks Pillow to posterize to 0 bits."""
        for _ in range(_TRIES):
            _seed_all(int(rng.integers(2**63)))
            with suppress(ValueError):
                return torch.as_tensor(self._transform(self._square(picture)))
        raise TrainingError(f"augment {self._policy!r}: fails on every draw; try rand-m9-mstd0.5")


class PairedBatches(Sampler[list[Draw]]):
    """All batches of a run, in order; each image shares its batch with at least one other of its class.

    Each epoch shuffles every class, cuts it into groups of two or three, and distributes the shuffled groups. The
    first and last image of a batch may be cut off from their groups, and the only image of a class is alone. An image
    with several classes counts towards the first. With `balanced`, each epoch draws the same number of images from
    every class, the mean size of a class: images of small classes repeat, those of large ones take turns.
    """

    def __init__(
        self, firsts: np.ndarray[Any, Any], config: TrainConfig, start: int = 0, share: slice = slice(None)
    ) -> None:
        """Distribute images, given the first class of each (n,) int, from batch `start` on; keep a `share`."""
        self._classes = [np.flatnonzero(firsts == name) for name in np.unique(firsts)]
        self.size = min(config.batch_size, len(firsts))
        self._config = config
        self._start = start
        self._share = share
        self.per_epoch = max(1, len(firsts) // config.batch_size)

    def __len__(self) -> int:
        """Return the number of remaining batches."""
        return self._config.epochs * self.per_epoch - self._start

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield the batches."""
        first, skip = divmod(self._start, self.per_epoch)
        for epoch in range(first, self._config.epochs):
            dealt = self._deal(np.random.default_rng([self._config.seed, epoch]))
            for batch in range(skip if epoch == first else 0, self.per_epoch):
                draws = dealt[batch * self.size : (batch + 1) * self.size]
                yield [Draw(epoch, *draw) for draw in draws[self._share].tolist()]

    def _deal(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """Return the images of an epoch, each with the number of its earlier occurrences: (n, 2) int."""
        total = sum(map(len, self._classes))
        groups: list[np.ndarray[Any, Any]] = []
        for places in self._classes:
            count = -(-total // len(self._classes)) if self._config.balanced else len(places)
            rounds = [rng.permutation(places) for _ in range(-(-count // len(places)))]
            shuffled = np.concatenate(rounds)[:count]
            groups += np.array_split(shuffled, max(1, len(shuffled) // 2))
        dealt = np.concatenate([groups[place] for place in rng.permutation(len(groups))])
        order = np.argsort(dealt, kind="stable")
        turns = np.empty_like(order)
        turns[order] = np.arange(len(order)) - np.searchsorted(dealt[order], dealt[order])
        return np.column_stack([dealt, turns])


def loader(dataset: Dataset[Sample], batches: Sampler[list[Draw]], workers: int) -> Generator[TrainingBatch]:
    """Yield the batches of a run, decoded in `workers` processes, or in this one if there are none."""
    batches_of = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=_PREFETCHED if workers else None,
        worker_init_fn=_begin_worker,
    )
    with signals_blocked():  # until the workers ignore them
        stream: Any = iter(batches_of)
    try:
        yield from stream
    except TrainingError as error:  # torch puts the traceback of a worker into the message
        raise TrainingError(str(error).strip().rpartition(f"{TrainingError.__name__}: ")[2]) from None
    finally:
        if workers:
            stream._shutdown_workers()  # at exit torch would send SIGTERM, which they ignore


def _collate(samples: list[Sample]) -> TrainingBatch:
    return TrainingBatch(
        torch.stack([sample.pixels for sample in samples]),
        torch.stack([sample.labels for sample in samples]),
        [item for sample in samples for item in sample.skipped],
    )


def _begin_worker(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM to the parent process, which saves the run, and end when it does."""
    leave_signals_to_parent()
    end_with_parent()


def _seed_all(seed: int) -> None:
    """Seed the three generators that timm's augmentation draws from; for torch, only the CPU's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
