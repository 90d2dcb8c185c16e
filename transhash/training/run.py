"""The functions behind `th train`, `th fit`, `th soup` and `th shrink`.

They check their arguments before loading torch, which takes seconds, and do cheap checks before expensive ones.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError, TrainingError
from ..hashers import header
from ..hashers.architecture import Architecture
from ..hashers.backbones import check_backbone
from ..hashers.bit_layout import split_bits
from ..hashers.embedder_config import EmbedderConfig
from ..system.arguments import checked
from ..system.files import display
from .config import UNLABELLED, FitConfig, TrainConfig
from .watcher import Watcher

if TYPE_CHECKING:
    from ..hashers.embedder_hasher import EmbedderHasher
    from ..hashers.transhash import TransHasher
    from ..sources import ImageList, Images, Skipped

_FEWEST_BITS = 4  # per local stream; according to the paper, training does not converge with fewer
FIRST = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, this one writes files


@checked
def train(
    images: "Images",
    output: str | Path | None = None,
    architecture: Architecture | None = None,
    config: TrainConfig | None = None,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    workers: int = 0,
    restart: bool = False,
    watcher: Watcher | None = None,
) -> "TransHasher":
    """Train a hasher on labelled images or, with the loss ``copies``, on any images.

    Args:
        images: anything that `transhash.sources.open_source` takes, with labels: a folder whose subfolders are the
            classes, a list, tar or Parquet files. There must be at least two classes, one with two images. The loss
            ``copies`` takes at least four images, and ignores labels.
        output: the safetensors file to write. A folder beside it with the suffix ``.run`` keeps the log and, until
            the run ends, a checkpoint: repeating the call resumes from there, with the same result as an
            uninterrupted run. Without an output, nothing is written.
        architecture: the network; the default is ``Architecture()``.
        config: the settings of the run; the default is ``TrainConfig()``.
        pretrained: start from timm's weights for the backbone, from the model hub.
        weights: start from this file, a hasher or a timm checkpoint in safetensors format.
        workers: number of processes that decode images, 0 to decode in this one. It does not change the result.
        restart: start over instead of resuming.
        watcher: receives the events of the run.

    Returns:
        The hasher after the last epoch.

    Raises TrainingError if the labels do not allow training, the loss diverges, or the run's folder holds the
    checkpoint of another run; ModelError if the backbone or its weights are not usable; OutputError if something else
    exists at `output`; SourceError if the images cannot be listed; TypeError for an argument of a wrong type;
    KeyboardInterrupt on Ctrl-C or SIGTERM, after saving the checkpoint.
    """
    architecture, config = architecture or Architecture(), config or TrainConfig()
    path = _output(output)
    folder = path.with_suffix(".run") if path else None
    if path and folder == path:
        raise OutputError(f"{display(path)}: the suffix .run is that of the run's folder; choose another name")
    _check_start(architecture, pretrained, weights)
    _check_sizes(architecture, config)
    source = _source(images)
    from . import labels

    if config.loss in UNLABELLED:
        labels.check_count(source)
    else:
        labels.class_names(source)
    from . import loop

    hasher = loop.train(
        source,
        architecture,
        config,
        pretrained=pretrained,
        weights=weights,
        workers=workers,
        folder=folder,
        restart=restart,
        watcher=watcher,
    )
    if path and folder and FIRST:
        hasher.save(path)
        loop.discard(folder)
    return hasher


@checked
def fit(
    images: "Images",
    output: str | Path | None = None,
    architecture: Architecture | None = None,
    config: FitConfig | None = None,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    embedder: str | Path | None = None,
    embedder_config: EmbedderConfig | None = None,
    on_batch: Callable[[int, "list[Skipped]"], None] = lambda images, skipped: None,
) -> "TransHasher | EmbedderHasher":
    """Fit a hasher to images without labels: a projection of the features of a pretrained backbone.

    Args:
        images: anything that `transhash.sources.open_source` takes; labels are ignored.
        output: the safetensors file to write; without one nothing is written.
        architecture: the network, with 0 groups; the default is ``Architecture(groups=0)``. With an embedder, only
            its `bits` apply.
        config: the settings of the fit; the default is ``FitConfig()``.
        pretrained: use timm's weights for the backbone, from the model hub.
        weights: use this file, a hasher or a timm checkpoint in safetensors format.
        embedder: use this ONNX model instead, which turns images into embeddings; the hasher will contain it.
        embedder_config: what the embedder takes and gives; by default the settings in the TOML file beside it.
        on_batch: called after every batch with its number of images, and those that could not be read.

    Returns:
        The hasher.

    Raises TrainingError if there are no weights, too few images, or more bits than the method can make from them;
    ModelError if the embedder is not usable; and ModelError, OutputError, SourceError or TypeError as `train` does.
    """
    architecture, config = architecture or Architecture(groups=0), config or FitConfig()
    path = _output(output)
    if embedder is None:
        _check_backbone(architecture, pretrained, weights, embedder_config)
    else:
        check_embedder_settings(architecture, pretrained, weights)
    source = _source(images)
    if len(source.images) < 2:
        raise TrainingError(f"{len(source.images)} images; a fit needs at least two, and preferably thousands")
    hasher: TransHasher | EmbedderHasher
    if embedder is None:
        from . import unsupervised

        hasher = unsupervised.fit(
            source, architecture, config, pretrained=pretrained, weights=weights, on_batch=on_batch
        )
    else:
        from . import fitting

        hasher = fitting.fit_embedder(source, embedder, embedder_config, architecture.bits, config, on_batch)
    if path:
        hasher.save(path)
    return hasher


@checked
def soup(hashers: Sequence[str | Path], output: str | Path | None = None) -> "TransHasher":
    """Average the weights of several hashers that were trained from the same weights.

    This is the uniform soup of Wortsman et al., *Model soups: averaging weights of multiple fine-tuned models
    improves accuracy without increasing inference time*, ICML 2022. All members must have learned the same code for
    each class; the objectives with targets guarantee that for any seed.

    Args:
        hashers: files of two or more hashers with the same architecture, preprocessing, classes and objective. They
            may be soups themselves; one that is listed twice counts twice.
        output: the safetensors file to write; without one nothing is written.

    Returns:
        A hasher with the mean weights. It also averages over mirror images if one of its members does; its `training`
        lists the training of the members.

    Raises ModelError if the hashers cannot be averaged or a file is not a hasher, OutputError if something else
    exists at `output`, TypeError for an argument of a wrong type.
    """
    path = _output(output)
    from . import members

    members.check(hashers)
    from .soup import average

    hasher = average(hashers)
    if path:
        hasher.save(path)
    return hasher


@checked
def shrink_hasher(hasher: str | Path, output: str | Path, weights: str = "int8") -> Path:
    """Write a copy of a hasher whose weights take fewer bytes.

    The copy computes in float32 as before, but with rounded weights, so a few bits of its codes differ: it is another
    hasher, with a digest of its own.

    Args:
        hasher: the safetensors file of a hasher.
        output: the safetensors file to write.
        weights: how weights are stored: ``"int8"`` (one byte each, plus a scale per row of a matrix), ``"fp16"``
            or ``"fp32"``.

    Returns:
        The path of the copy.

    Raises ModelError if `hasher` is not a hasher, or its weights cannot be stored that way, OutputError if something
    other than a hasher exists at `output`, TypeError for an argument of a wrong type.
    """
    path = _output(output)
    assert path is not None
    header.read_network(hasher)
    from ..hashers.transhash import TransHasher

    TransHasher.load(hasher).save(path, weights)
    return path


def _output(output: str | Path | None) -> Path | None:
    """Check that a hasher can be written to `output`, before any work is done."""
    if output is None:
        return None
    path = Path(output)
    if not path.parent.is_dir():
        raise OutputError(f"{display(path.parent)}: no such folder; create it, or choose another output")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{display(path.parent)}: not writable; choose another output")
    header.check_replaceable(path)
    return path


def _check_start(architecture: Architecture, pretrained: bool, weights: str | Path | None) -> None:
    """Raise TrainingError or ModelError if a run obviously cannot start from these weights."""
    if pretrained and weights is not None:
        raise TrainingError("pretrained and weights cannot be combined; choose one")
    if weights is not None:
        header.check_weights(weights)
    check_backbone(architecture.backbone)


def _check_backbone(
    architecture: Architecture, pretrained: bool, weights: str | Path | None, embedder_config: EmbedderConfig | None
) -> None:
    """Raise TrainingError or ModelError if a fit obviously cannot start from this backbone."""
    if embedder_config is not None:
        raise TrainingError("settings of an embedder, but no embedder: pass --embedder FILE (embedder=)")
    if not (pretrained or weights):
        raise TrainingError(
            "random weights give codes without meaning: pass --pretrained (pretrained=True), "
            "--weights FILE (weights=) or --embedder FILE (embedder=)"
        )
    if architecture.groups:
        raise TrainingError(f"{architecture.groups} groups: a fit trains no local streams; choose groups of 0")
    _check_start(architecture, pretrained, weights)


def check_embedder_settings(architecture: Architecture, pretrained: bool, weights: str | Path | None) -> None:
    """Raise TrainingError for settings that do not apply with an embedder."""
    if pretrained or weights is not None:
        raise TrainingError(
            "an embedder has weights of its own: leave out --pretrained and --weights (pretrained=, weights=)"
        )
    plain = Architecture(groups=0)
    for entry in fields(Architecture):
        name = entry.name
        if name not in ("bits", "groups") and getattr(architecture, name) != getattr(plain, name):
            raise TrainingError(
                f"an embedder is a network of its own: leave out --{name.replace('_', '-')} ({name}=)"
            )


def _check_sizes(architecture: Architecture, config: TrainConfig) -> None:
    """Raise TrainingError if local streams have too few bits to learn from, or images are smaller than the input."""
    for bits in architecture.lengths if config.loss == "transhash" else [architecture.bits]:
        narrowest = min(split_bits(bits, architecture.groups))
        if narrowest < _FEWEST_BITS:
            most = bits // (2 * _FEWEST_BITS)
            raise TrainingError(
                f"{architecture.groups} groups of {bits} bits: a local stream of {narrowest} bits does not converge; "
                f"it needs {_FEWEST_BITS}: choose {most} groups or fewer"
            )
    if config.resize and config.resize < architecture.image_size:
        raise TrainingError(f"resize {config.resize}: must be at least the image size, {architecture.image_size}")


def _source(images: "Images") -> "ImageList":
    from ..sources import ImageList, list_images

    return images if isinstance(images, ImageList) else list_images(images)
