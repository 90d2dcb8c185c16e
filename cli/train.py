"""`th train`."""

from pathlib import Path
from typing import Any

import click

from transhash.hashers.architecture import Architecture
from transhash.training.config import TrainConfig

from . import options, render


@click.command()
@options.IMAGES
@click.option("-o", "--output", type=options.Output(), required=True, help="Hasher to write (safetensors).")
@options.LIST
@options.PRETRAINED
@options.WEIGHTS
@click.option("--workers", type=click.IntRange(0, 256), default=0, show_default=True, help="Decoding processes.")
@click.option("--restart", is_flag=True, help="Begin anew where an unfinished run would go on.")
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
    """Train a hasher on IMAGES, whose subfolders are the classes.

    \b
    Examples:
        th train photos/ -o hasher.safetensors --bits 64 --pretrained
        torchrun --nproc-per-node 8 --no-python th train photos/ -o hasher.safetensors --pretrained

    Without --pretrained or --weights it starts from random weights, which suits small pictures and many of them.

    Beside the hasher, a folder keeps the log of the run (log.csv, and TensorBoard's events if that is installed)
    and a checkpoint, from which the same command goes on after Ctrl-C, or a kill, as if it had never stopped.
    """
    options.one_start(pretrained, weights)
    folder = output.with_suffix(".run")
    if folder == output:
        raise click.BadParameter("a name in .run is that of the run's folder; choose another", param_hint="--output")
    architecture = options.chosen(Architecture, values)
    config = options.chosen(TrainConfig, values)

    from transhash.hashers.header import check_replaceable
    from transhash.training import loop

    from . import source

    check_replaceable(output)
    found = source.find(images, names)
    render.skipped([(item.path, item.reason) for item in found.skipped])
    if pretrained:
        render.note(f"fetching the weights of {architecture.backbone} from the model hub, unless they are here")
    with render.progress(config.epochs * len(found.images), "images") as bar:
        hasher = loop.train(
            found,
            architecture,
            config,
            pretrained=pretrained,
            weights=weights,
            workers=workers,
            folder=folder,
            restart=restart,
            watcher=_watcher(bar, config.epochs),
        )
    if render.FIRST:
        hasher.save(output)
        loop.discard(folder)
    render.note(f"wrote {output}: {architecture.bits} bits, {len(hasher.class_names)} classes; its log: {folder}/")


def _watcher(bar: Any, epochs: int) -> Any:
    """Return a watcher that shows a run on a progress bar."""
    from transhash.training import loop

    class Shown(loop.Watcher):
        score = ""

        def on_start(self, images: int, held_out: int, step: int, steps: int, step_images: int) -> None:
            bar.reset(steps * step_images)
            bar.initial = bar.n = bar.last_print_n = step * step_images
            if step:
                render.note(f"going on after step {step} of {steps}")
            if held_out:
                render.note(f"{images} images to learn from, {held_out} held out to measure mAP")

        def on_step(self, progress: loop.Progress) -> None:
            if progress.validation is not None:
                self.score = f", mAP {progress.validation:.4f}"
            bar.set_description(f"epoch {progress.epoch}/{epochs}", refresh=False)
            bar.set_postfix_str(f"loss {progress.loss:.3f}{self.score}", refresh=progress.validation is not None)
            bar.update(progress.images)

        def on_skip(self, path: bytes, reason: str) -> None:
            bar.clear()
            render.skipped([(path, reason)])

        def on_save(self, path: Path, step: int) -> None:
            bar.clear()
            render.note(f"saved after step {step}; the same command goes on from there")

    return Shown()
