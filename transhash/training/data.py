"""Training images: decoded, augmented and batched."""

from collections.abc import Iterator
from typing import Any

import torch
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from .. import images
from ..errors import ImageError
from ..hashers.transhash import TransHasher
from ..images import Source
from .config import TrainConfig

Sample = tuple[Tensor, int]


class LabelledImages(Dataset[Sample | None]):
    """The images of a source with the numbers of their classes; None for one that cannot be read."""

    def __init__(
        self, source: Source, class_names: tuple[str, ...], hasher: TransHasher, config: TrainConfig
    ) -> None:
        """Augment for `hasher` as `config` says, with timm's transforms."""
        ids = {name: place for place, name in enumerate(class_names)}
        self._source = source
        self.labels = [ids[image.label] for image in source.images if image.label is not None]
        self._transform: Any = create_transform(
            hasher.architecture.image_size,
            is_training=True,
            scale=(config.crop, 1.0),
            hflip=config.flip,
            color_jitter=config.jitter,
            interpolation="bicubic",
            mean=hasher.preprocessing.mean,
            std=hasher.preprocessing.std,
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, place: int) -> Sample | None:
        """Read and augment one image: (3, H, W) float32 and its class."""
        try:
            image = images.read(self._source.path(self._source.images[place]))
        except ImageError:
            return None
        return self._transform(image), self.labels[place]


class PairedBatches(BatchSampler):
    """Random batches in which every image has at least one other of its class, so that similar pairs exist.

    Each epoch shuffles every class, cuts it into groups of two to four, and deals the shuffled groups out.
    """

    def __init__(self, labels: list[int], batch_size: int, generator: torch.Generator) -> None:
        """Deal out images with these labels, `batch_size` at a time."""
        self._labels = torch.tensor(labels)
        self._batch_size = batch_size
        self._generator = generator

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return max(1, len(self._labels) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the places of each batch's images."""
        groups: list[Tensor] = []
        for label in sorted(set(self._labels.tolist())):
            places = (self._labels == label).nonzero().flatten()
            shuffled = places[torch.randperm(len(places), generator=self._generator)]
            groups += shuffled.tensor_split(max(1, len(shuffled) // 2))
        order = torch.randperm(len(groups), generator=self._generator)
        dealt = torch.cat([groups[place] for place in order]).tolist()
        size = min(self._batch_size, len(dealt))
        for batch in range(len(self)):
            yield dealt[batch * size : (batch + 1) * size]


def loader(dataset: LabelledImages, config: TrainConfig, workers: int) -> DataLoader[Any]:
    """Return shuffled batches of (images (n, 3, H, W), labels (n,)); unreadable images are left out."""
    generator = torch.Generator().manual_seed(config.seed)
    return DataLoader(
        dataset,
        batch_sampler=PairedBatches(dataset.labels, config.batch_size, generator),
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        generator=generator,
    )


def _collate(samples: list[Sample | None]) -> tuple[Tensor, Tensor] | None:
    readable = [sample for sample in samples if sample is not None]
    if len(readable) < 2:
        return None
    return torch.stack([image for image, _ in readable]), torch.tensor([label for _, label in readable])
