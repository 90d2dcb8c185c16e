"""A training run: from labelled images to a hasher."""

import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from .. import files
from ..encoding.run import encode
from ..errors import SourceError, TrainingError
from ..evaluation.average_precision import average_precision
from ..evaluation.levels import Levels, hamming_levels
from ..hashers.architecture import Architecture
from ..hashers.transhash import TransHasher, start
from ..interrupt import stopping
from ..sources import ImageList
from . import checkpoint
from .config import TrainConfig
from .data import LabelledImages, PairedBatches, class_names, hold_out, identity, loader, with_several
from .learner import Learner
from .log import RunLog

CHECKPOINT = "checkpoint.safetensors"
_SAVE_EVERY = 300.0  # seconds


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step.

    Attributes:
        epoch, step: counted from 1; `steps` are all of the run's.
        images: in this step.
        loss: of this step.
        validation: mAP on the images held out, after the last step of an epoch; else None.
    """

    epoch: int
    step: int
    steps: int
    images: int
    loss: float
    validation: float | None = None


class Watcher:
    """Is told how a run goes, in the first process; override what you want to hear."""

    def on_start(self, images: int, held_out: int, step: int, steps: int, step_images: int) -> None:
        """Training starts; an earlier run did `step` of the `steps` steps, of `step_images` images each."""

    def on_step(self, progress: Progress) -> None:
        """A step is done."""

    def on_skip(self, path: bytes, reason: str) -> None:
        """An image could not be read, and another of its class stood in. Told once an image."""

    def on_save(self, path: Path, step: int) -> None:
        """The run was stopped after `step` steps and can go on from `path`."""


def train(
    source: ImageList,
    architecture: Architecture,
    config: TrainConfig,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    workers: int = 0,
    folder: str | Path | None = None,
    restart: bool = False,
    watcher: Watcher | None = None,
) -> TransHasher:
    """Train a hasher on labelled images.

    Under ``torchrun`` all processes share every batch, and each returns the same hasher.

    Args:
        source: images, each with a label or several; at least two classes and two images in one of them.
        architecture: the network.
        config: the run.
        pretrained: start from the weights that timm has for the backbone.
        weights: start from this safetensors file instead.
        workers: processes that decode images; 0 decodes in this one. Changes no result.
        folder: keeps the log of the run and, while it is unfinished, a checkpoint: the same call goes on from there
            and ends with the very weights of a run that was never stopped. Without a folder nothing is kept.
        restart: begin anew where a checkpoint would go on.
        watcher: is told how the run goes.

    Returns:
        The hasher as it is after the last epoch; `TransHasher.save` writes it.

    Raises TrainingError if the labels allow no training, the loss diverges, or `folder` holds another run's
    checkpoint; ModelError for the network's part; KeyboardInterrupt, once the run is saved, on Ctrl-C or SIGTERM.
    """
    names = class_names(source)
    several = with_several(source) is not None
    config = config.settled(pretrained=pretrained or weights is not None)
    kept, held = hold_out(source, config.validation, config.seed)
    torch.manual_seed(config.seed)
    hasher = start(architecture, pretrained=pretrained, weights=weights, class_names=names)
    hasher.training = {"config": asdict(config), "images": len(kept.images), "images_id": identity(kept)}
    dataset = LabelledImages(kept, names, hasher, config)
    whole = PairedBatches(dataset.firsts, config)
    size, per_epoch = whole.size, whole.per_epoch
    steps = max(1, config.epochs * per_epoch // config.accumulate)
    learner = Learner(hasher, config, steps, several=several)
    if size % learner.processes:
        raise TrainingError(f"batch-size {size}: {learner.processes} processes cannot share it evenly")

    path = Path(folder) / CHECKPOINT if folder else None
    run = {
        "architecture": asdict(architecture),
        **hasher.training,
        "start": "the hub" if pretrained else files.sha256(Path(weights)) if weights else "random weights",
        "bf16": learner.half,
        "processes": learner.processes,
    }
    first = learner.process == 0
    if path and first:
        path.parent.mkdir(exist_ok=True)
        if restart:
            discard(path.parent)
    done = checkpoint.resume(path, learner.state, run) if path and not restart else 0

    share = slice(learner.process, None, learner.processes)
    batches = PairedBatches(dataset.firsts, config, done * config.accumulate, share)
    watcher = watcher if watcher and first else Watcher()
    watcher.on_start(len(kept.images), len(held.images), done, steps, size * config.accumulate)
    told: set[bytes] = set()
    saved = started = time.monotonic()

    with ExitStack() as stack:
        stopped = stack.enter_context(stopping())
        log = stack.enter_context(RunLog(Path(folder), done)) if folder and first else None
        stream = stack.enter_context(closing(loader(dataset, batches, workers)))
        for step in range(done, steps):
            began = time.perf_counter()
            chosen = list(islice(stream, config.accumulate))
            for skipped, reason in (item for batch in chosen for item in batch.skipped):
                if skipped not in told:
                    told.add(skipped)
                    watcher.on_skip(skipped, reason)
            loss, rate = learner.step(step, chosen)
            images = sum(len(batch.labels) for batch in chosen) * learner.processes
            seconds = time.perf_counter() - began

            epoch = step * config.accumulate // per_epoch + 1
            ends = step + 1 == steps or (step + 1) * config.accumulate // per_epoch + 1 > epoch
            score = _validate(learner.hasher(), held) if ends and held.images else None
            if log:
                log.write(step + 1, epoch, loss, rate, images / seconds, score)
            watcher.on_step(Progress(epoch, step + 1, steps, images, loss, score))

            stop = learner.any(stopped())
            if path and first and (stop or (time.monotonic() - saved > _SAVE_EVERY and step + 1 < steps)):
                checkpoint.save(path, learner.state, step + 1, run)
                saved = time.monotonic()
            if stop:
                if path:
                    watcher.on_save(path, step + 1)
                raise KeyboardInterrupt
            if config.minutes and learner.any(time.monotonic() - started > 60 * config.minutes):
                hasher.training["steps"] = step + 1
                break
    return learner.hasher()


def discard(folder: str | Path) -> None:
    """Remove a run's checkpoint; its log stays."""
    (Path(folder) / CHECKPOINT).unlink(missing_ok=True)


def _validate(hasher: TransHasher, held: ImageList) -> float | None:
    """Return the mAP of held-out images, each a query among all others; None if none can be read."""
    try:
        codes = encode(held, hasher)
    except SourceError:
        return None
    levels = hamming_levels(codes, codes)
    itself = np.zeros_like(levels.total)
    itself[:, 0] = 1
    return float(average_precision(Levels(levels.total - itself, levels.relevant - itself)).mean())
