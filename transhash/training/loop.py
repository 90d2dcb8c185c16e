"""The training loop: labelled images in, a hasher out."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..encoding.run import encode
from ..errors import SourceError, TrainingError
from ..evaluation.average_precision import average_precision
from ..evaluation.levels import Levels, hamming_levels
from ..hashers.architecture import Architecture
from ..hashers.transhash import TransHasher, start
from ..sources import ImageList
from ..system import files
from ..system.interrupt import stopping
from . import checkpoint, copies
from .config import UNLABELLED, TrainConfig
from .data import LabelledImages, PairedBatches, TrainingBatch, fingerprint, hold_out, loader
from .labels import class_names, with_several
from .learner import Learner
from .log import RunLog
from .watcher import StepResult, Watcher

CHECKPOINT = "checkpoint.safetensors"
_SAVE_EVERY = 300.0  # seconds


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
    """Train a hasher on labelled images; `transhash.train` describes the other arguments.

    Under ``torchrun`` all processes share every batch, and each returns the same hasher.

    Args:
        folder: where to keep the log and, until the run ends, its checkpoint. Repeating the call resumes from the
            checkpoint, with the same result as an uninterrupted run. Without a folder, nothing is kept.

    Returns:
        The hasher after the last epoch, not saved.

    Raises TrainingError if the labels do not allow training, the loss diverges, or `folder` holds the checkpoint of
    another run; ModelError if the network cannot be built; KeyboardInterrupt on Ctrl-C or SIGTERM, after saving.
    """
    run = _Run(source, architecture, config, pretrained=pretrained, weights=weights)
    if folder:
        run.keep(Path(folder), restart=restart)
    return run.finish(workers, watcher or Watcher())


class _Run:
    """A training run, from its first step or a checkpoint to its last step."""

    def __init__(
        self,
        source: ImageList,
        architecture: Architecture,
        config: TrainConfig,
        *,
        pretrained: bool,
        weights: str | Path | None,
    ) -> None:
        self.labelled = config.loss not in UNLABELLED
        names = class_names(source) if self.labelled else ()
        self.config = config = config.settled(pretrained=pretrained or weights is not None)
        divide = hold_out if self.labelled else copies.hold_out
        self.kept, self.held = divide(source, config.validation, config.seed)
        torch.manual_seed(config.seed)
        hasher = start(architecture, pretrained=pretrained, weights=weights, class_names=names)
        if config.resize:
            part = architecture.image_size / config.resize
            hasher.preprocessing = replace(hasher.preprocessing, crop=part, fit="crop")
        count, images_id = len(self.kept.images), fingerprint(self.kept)
        hasher.training = {"config": asdict(config), "images": count, "images_id": images_id}
        self.dataset: LabelledImages | copies.EditedImages
        if self.labelled:
            self.dataset = LabelledImages(self.kept, names, hasher, config)
        else:
            hasher.preprocessing = replace(hasher.preprocessing, crop=1.0, fit="squash")
            self.dataset = copies.EditedImages(self.kept, hasher, config)
        batches = self._batches()
        self.batch_size, self.per_epoch = batches.size, batches.per_epoch
        self.steps = max(1, config.epochs * self.per_epoch // config.accumulate)
        self.learner = Learner(hasher, config, self.steps, several=self.labelled and with_several(source) is not None)
        processes = self.learner.processes
        if self.batch_size % processes:
            raise TrainingError(f"batch-size {self.batch_size}: {processes} processes cannot share it evenly")
        beginning = "the hub" if pretrained else files.sha256(Path(weights)) if weights else "random weights"
        self.settings = checkpoint.RunSettings(
            architecture, config, count, images_id, beginning, self.learner.half, processes
        )
        self.first = self.learner.process == 0  # this process writes files and calls the watcher
        self.folder: Path | None = None
        self.done = 0
        self._reported: set[bytes] = set()
        self._saved = time.monotonic()

    def keep(self, folder: Path, *, restart: bool) -> None:
        """Keep the run in `folder`, and resume from the checkpoint there unless `restart` is set."""
        self.folder = folder
        if self.first:
            folder.mkdir(exist_ok=True)
            if restart:
                discard(folder)
        if not restart:
            self.done = checkpoint.resume(folder / CHECKPOINT, self.learner.state, self.settings, self.steps)

    def finish(self, workers: int, watcher: Watcher) -> TransHasher:
        """Do the remaining steps."""
        config, learner = self.config, self.learner
        share = slice(learner.process, None, learner.processes)
        batches = self._batches(self.done * config.accumulate, share)
        step_images = self.batch_size * config.accumulate
        watcher = watcher if self.first else Watcher()
        watcher.on_start(len(self.kept.images), len(self.held.images), self.done, self.steps, step_images)
        self._saved = began = time.monotonic()
        with ExitStack() as stack:
            stopped = stack.enter_context(stopping())
            log = stack.enter_context(RunLog(self.folder, self.done)) if self.folder and self.first else None
            stream = stack.enter_context(closing(loader(self.dataset, batches, workers)))
            for step in range(self.done, self.steps):
                self._step(step, stream, log, watcher)
                self._save_if_due(step + 1, learner.any(stopped()), watcher)
                if config.minutes and learner.any(time.monotonic() - began > 60 * config.minutes):
                    learner.record(steps=step + 1)
                    break
        hasher = learner.hasher()
        if not self.labelled:
            hasher.rarity = copies.rarity(hasher, self.held)
        return hasher

    def _batches(self, start: int = 0, share: slice = slice(None)) -> PairedBatches | copies.TwinBatches:
        """Return the batches of the run, starting with batch `start`, or a `share` of each."""
        if isinstance(self.dataset, LabelledImages):
            return PairedBatches(self.dataset.firsts, self.config, start, share)
        return copies.TwinBatches(len(self.dataset), self.config, start, share)

    def _validate(self) -> float | None:
        """Measure the mAP on the held-out images; return None if there are none, or none can be read."""
        hasher = self.learner.hasher()
        try:
            if not self.labelled:
                return copies.validate(hasher, self.held, self.config.seed) if self.held.images else None
            return _validate(hasher, self.held) if self.held.images else None
        except SourceError:
            return None

    def _step(self, step: int, stream: Iterator[TrainingBatch], log: RunLog | None, watcher: Watcher) -> None:
        """Train on the next batches and report the result."""
        config, learner = self.config, self.learner
        began = time.perf_counter()
        batches = list(islice(stream, config.accumulate))
        for path, reason in (item for batch in batches for item in batch.skipped):
            if path not in self._reported:
                self._reported.add(path)
                watcher.on_skip(path, reason)
        loss, rate = learner.step(step, batches)
        images = sum(len(batch.labels) for batch in batches) * learner.processes
        seconds = time.perf_counter() - began

        epoch = step * config.accumulate // self.per_epoch + 1
        ends = step + 1 == self.steps or (step + 1) * config.accumulate // self.per_epoch + 1 > epoch
        score = self._validate() if ends else None
        if log:
            log.write(step + 1, epoch, loss, rate, images / seconds, score)
        watcher.on_step(StepResult(epoch, step + 1, self.steps, images, loss, score))

    def _save_if_due(self, done: int, stop: bool, watcher: Watcher) -> None:
        """Save the run at intervals; if `stop` is set, save it and raise KeyboardInterrupt."""
        due = time.monotonic() - self._saved > _SAVE_EVERY and done < self.steps
        path = self.folder / CHECKPOINT if self.folder else None
        if path and self.first and (stop or due):
            checkpoint.save(path, self.learner.state, done, self.settings)
            self._saved = time.monotonic()
        if stop:
            if path:
                watcher.on_save(path, done)
            raise KeyboardInterrupt


def discard(folder: str | Path) -> None:
    """Remove the checkpoint of a run, but keep its log."""
    (Path(folder) / CHECKPOINT).unlink(missing_ok=True)


def _validate(hasher: TransHasher, held: ImageList) -> float:
    """Measure the mAP on the held-out images, with each one as a query against the others.

    Raises SourceError if none of them can be read.
    """
    codes = encode(held, hasher)
    levels = hamming_levels(codes, codes)
    itself = np.zeros_like(levels.total)
    itself[:, 0] = 1
    return float(average_precision(Levels(levels.total - itself, levels.relevant - itself)).mean())
