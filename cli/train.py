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
@click.option("--pretrained", is_flag=True, help="Start from the backbone's weights on the model hub.")
@click.option("--weights", type=options.EXISTING_FILE, help="Start from a timm checkpoint in safetensors.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Decoding processes.")
@options.settings(Architecture)
@options.settings(TrainConfig)
def train(
    images: Path,
    output: Path,
    names: Path | None,
    pretrained: bool,
    weights: Path | None,
    workers: int,
    **values: Any,
) -> None:
    """Train a hasher on IMAGES, whose subfolders are the classes.

    \b
    Example:
        th train photos/ -o hasher.safetensors --bits 64 --pretrained

    Without --pretrained or --weights it starts from random weights, which suits small pictures and many of them.
    """
    if pretrained and weights:
        raise click.UsageError("--pretrained and --weights exclude each other")
    architecture = options.chosen(Architecture, values)
    config = options.chosen(TrainConfig, values)

    from transhash.hashers.transhash import check_replaceable
    from transhash.training import loop

    from . import source

    check_replaceable(output)
    found = source.find(images, names)
    for item in found.skipped:
        render.skipped([(item.path, item.reason)])
    if pretrained:
        render.note(f"fetching the weights of {architecture.backbone} from the model hub, unless they are here")
    with render.progress(config.epochs * len(found.images), "images") as bar:

        def show(progress: loop.Progress) -> None:
            bar.set_description(f"epoch {progress.epoch}/{config.epochs}", refresh=False)
            bar.set_postfix_str(f"loss {progress.loss:.3f}", refresh=False)
            bar.update(progress.images)

        hasher = loop.train(
            found, architecture, config, pretrained=pretrained, weights=weights, workers=workers, on_step=show
        )
    hasher.save(output)
    render.note(f"wrote {output}: {architecture.bits} bits, {len(hasher.class_names)} classes")
