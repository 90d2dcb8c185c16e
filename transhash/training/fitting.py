"""Fit a projection to the features of images without labels; only the method crovca needs torch."""

import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import TrainingError
from ..hashers.embedder_config import EmbedderConfig
from ..hashers.embedder_hasher import EmbedderHasher, open_embedder
from ..sources import ImageList, Skipped
from ..sources.lookahead import load
from ..system.files import display
from .config import FitConfig
from .projections import PROJECTIONS, Floats, check_directions
from .views import view

_BATCH = 32

OnBatch = Callable[[int, list[Skipped]], None]


class Extractor(Protocol):
    """Turns images into features, in the two steps of a hasher."""

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Turn an RGB image into an array of one fixed shape and type."""
        ...

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Turn n preprocessed images into features (n, d)."""
        ...


def fit_embedder(
    source: ImageList,
    embedder: str | Path,
    embedder_config: EmbedderConfig | None,
    bits: int,
    config: FitConfig,
    on_batch: OnBatch = lambda images, skipped: None,
) -> EmbedderHasher:
    """Fit a hasher to the embeddings of an ONNX model, as `unsupervised.fit`."""
    opened = open_embedder(embedder, embedder_config)
    name = display(embedder)
    planes, offsets, training = projected(source, opened.model, name, opened.model.width, bits, config, on_batch)
    return EmbedderHasher(opened, planes.astype(np.float32), offsets.astype(np.float32), training)


def projected(
    source: ImageList, extractor: Extractor, name: str, width: int, bits: int, config: FitConfig, on_batch: OnBatch
) -> tuple[Floats, Floats, dict[str, Any]]:
    """Fit a projection to a sample of images; return its weight (bits, d), its bias (bits,), and a record.

    `name` is that of the model, for error messages.
    """
    rng = np.random.default_rng(config.seed)
    places = np.sort(rng.permutation(len(source.images))[: config.sample])
    check_directions(config.method, bits, len(places), width)  # before computing features, which takes long
    sample = ImageList(source.root, [source.images[place] for place in places])
    prepare = _with_view(extractor, config.seed) if config.method == "crovca" else extractor.preprocess
    features = _features(sample, prepare, extractor, on_batch)
    if len(features) < 2:
        raise TrainingError(f"{len(features)} images could be read; a fit needs two or more, preferably thousands")
    if not np.isfinite(features).all():
        raise TrainingError(f"{name}: computes a feature that is not a finite number, so it is damaged; give another")
    if (features == features[0]).all():
        raise TrainingError(
            f"{len(features)} images have the same embedding, so the model says nothing about them; give another"
        )
    check_directions(config.method, bits, len(features), width)
    record = {"method": config.method, "images": len(features), "seed": config.seed}
    if config.method == "crovca":
        from .alignment import aligned

        return *aligned(features[:, 0], features[:, 1], bits, config.iterations, rng), record
    planes, mean = PROJECTIONS[config.method](features[:, 0], bits, config.iterations, rng)
    return planes, -planes @ mean, record


def _with_view(extractor: Extractor, seed: int) -> Callable[[Image.Image], NDArray[Any]]:
    """Return a function that prepares an image and a view of it, which depends on the image and the seed only."""

    def prepare(image: Image.Image) -> NDArray[Any]:
        pixels = extractor.preprocess(image)
        rng = np.random.default_rng([seed, zlib.crc32(pixels.tobytes())])
        return np.stack([pixels, extractor.preprocess(view(image, rng))])

    return prepare


def _features(
    source: ImageList, prepare: Callable[[Image.Image], NDArray[Any]], extractor: Extractor, on_batch: OnBatch
) -> Floats:
    """Compute the features (n, v, F) float64 of all readable images, prepared as v arrays (v, H, W, 3) or one."""
    found: list[NDArray[np.float32]] = []
    loaded = load(source, prepare)
    while batch := list(islice(loaded, _BATCH)):
        pixels = [item[1] for item in batch if not isinstance(item, Skipped)]
        if pixels:
            stacked = np.stack(pixels)
            features = extractor.features(stacked.reshape(-1, *stacked.shape[-3:]))
            found.append(features.reshape(len(pixels), -1, features.shape[1]))
        on_batch(len(batch), [item for item in batch if isinstance(item, Skipped)])
    return np.concatenate(found).astype(np.float64) if found else np.empty((0, 1, 0))
