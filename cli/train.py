"""`th train`."""

import time
from pathlib import Path
from typing import Any

import click

import transhash
from transhash.hashers.architecture import Architecture
from transhash.training.config import TrainConfig
from transhash.training.presets import PRESETS, preset
from transhash.training.watcher import StepResult, Watcher

from . import options, render


def _preset(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Make the settings of a preset the defaults of the options that are not given."""
    if name:
        chosen = preset(name)
        context.default_map = {**(context.default_map or {}), **vars(chosen.architecture), **vars(chosen.config)}


_PRESET = click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    is_eager=True,
    expose_value=False,
    callback=_preset,
    help="Settings of a published training; the other options change them. transhash-icmr22: the TransHash paper.",
)


@click.command()
@options.IMAGES
@click.option("-o", "--output", type=options.Output(), required=True, help="Hasher to write (safetensors).")
@options.LIST
@options.PRETRAINED
@options.WEIGHTS
@click.option("--workers", type=click.IntRange(0, 256), default=0, show_default=True, help="Decoding processes.")
@click.option("--restart", is_flag=True, help="Start over instead of resuming an unfinished run.")
@_PRESET
@options.settings(Architecture)
@options.settings(TrainConfig)
def train(
    images: Path,
    output: Path,
    names: Path | None,
    pretrained: bool,
    weights: Path | None,
    workers: int,
    restart: bool,
    **values: Any,
) -> None:
    """Train a hasher on IMAGES, whose subfolders are the classes; --loss copies takes images without labels.

    \b
    Examples:
        th train photos/ -o hasher.safetensors --bits 64 --pretrained
        th train photos/ -o hasher.safetensors --bits 64 --preset transhash-icmr22 --pretrained
        th train photos/ -o copies.safetensors --loss copies --bits 256 --nested 64,128 --groups 0 --pretrained
        torchrun --nproc-per-node 8 --no-python th train photos/ -o hasher.safetensors --pretrained

    Without --pretrained or --weights, training starts from random weights; this suits large sets of small pictures.

    A folder beside the hasher keeps a checkpoint and the log of the run (log.csv, and TensorBoard events if it is
    installed). After an interruption, the same command resumes from the checkpoint, and the result is identical to
    that of an uninterrupted run.
    """
    options.one_start(pretrained, weights)
    architecture = options.chosen(Architecture, values)
    config = options.chosen(TrainConfig, values)

    from . import source

    found = source.find(images, names)
    render.skipped([(item.path, item.reason) for item in found.skipped])
    if pretrained:
        render.note(f"loading the weights of {architecture.backbone} from the model hub or its local cache")
    with render.progress(config.epochs * len(found.images), "images") as bar:
        hasher = transhash.train(
            found,
            output,
            architecture,
            config,
            pretrained=pretrained,
            weights=weights,
            workers=workers,
            restart=restart,
            watcher=_Bar(bar, config.epochs),
        )
    log = output.with_suffix(".run")
    learnt = render.counted(len(hasher.class_names), "class") if hasher.class_names else "no classes"
    render.note(f"wrote {output}: {architecture.bits} bits, {learnt}; log: {log}/")


class _Bar(Watcher):
    """A watcher that shows a run as a progress bar."""

    def __init__(self, bar: Any, epochs: int) -> None:
        self._bar = bar
        self._epochs = epochs
        self._score = ""

    def on_start(self, images: int, held_out: int, step: int, steps: int, step_images: int) -> None:
        self._bar.total = steps * step_images
        self._bar.initial = self._bar.n = self._bar.last_print_n = step * step_images
        self._bar.start_t = self._bar.last_print_t = time.time()  # loading torch is not part of the rate
        if step:
            render.note(f"resuming after step {step} of {steps}")
        if held_out:
            render.note(f"{images} training images, {held_out} held out to measure mAP")

    def on_step(self, result: StepResult) -> None:
        if result.validation is not None:
            self._score = f", mAP {result.validation:.4f}"
        self._bar.set_description(f"epoch {result.epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(f"loss {result.loss:.3f}{self._score}", refresh=False)
        self._bar.update(result.images)
        if result.validation is not None:
            self._bar.refresh()

    def on_skip(self, path: bytes, reason: str) -> None:
        self._bar.clear()
        render.skipped([(path, reason)])

    def on_save(self, path: Path, step: int) -> None:
        self._bar.clear()
        render.note(f"saved after step {step}; the same command resumes from there")
