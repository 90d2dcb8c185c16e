"""`th fit`."""

from pathlib import Path
from typing import Any

import click

import transhash
from transhash.hashers.architecture import Architecture
from transhash.hashers.embedder_config import EmbedderConfig
from transhash.training.config import FitConfig

from . import options, render

_PREFIX = "embedder-"


@click.command()
@options.IMAGES
@click.option("-o", "--output", type=options.Output(), required=True, help="Hasher to write (safetensors).")
@options.LIST
@options.PRETRAINED
@options.WEIGHTS
@options.EMBEDDER
@options.settings(EmbedderConfig, prefix=_PREFIX)
@options.settings(FitConfig)
@options.settings(Architecture, leave_out=("groups",))
def fit(
    images: Path,
    output: Path,
    names: Path | None,
    pretrained: bool,
    weights: Path | None,
    embedder: Path | None,
    **values: Any,
) -> None:
    """Fit a hasher to IMAGES without labels, in minutes on a CPU.

    \b
    Example:
        th fit photos/ -o hasher.safetensors --pretrained --backbone vit_small_patch14_dinov2 --image-size 224

    Images that the backbone finds similar get similar codes. If you have labels, th train gives better codes.

    \b
    With an ONNX model instead of a backbone, which the hasher will contain:
        th fit photos/ -o hasher.safetensors --embedder model.onnx
    """
    options.one_start(pretrained, weights)
    architecture = options.chosen(Architecture, values, groups=0)
    config = options.chosen(FitConfig, values)
    changes = options.changes(EmbedderConfig, values, _PREFIX)
    if changes and embedder is None:
        raise click.UsageError(f"--{_PREFIX}{min(changes)} needs --embedder")
    embedder_config = None
    if embedder:
        from transhash.training.run import check_embedder_settings

        with options.misuse():
            check_embedder_settings(architecture, pretrained, weights)
        embedder_config = EmbedderConfig.beside(embedder, **changes)

    from . import source

    found = source.find(images, names)
    with render.progress(min(config.sample, len(found.images)), "images") as bar:

        def show(count: int, skipped: list[Any]) -> None:
            bar.update(count)
            if skipped:
                bar.clear()
                render.skipped([(item.path, item.reason) for item in skipped])

        hasher = transhash.fit(
            found,
            output,
            architecture,
            config,
            pretrained=pretrained,
            weights=weights,
            embedder=embedder,
            embedder_config=embedder_config,
            on_batch=show,
        )
    if embedder:
        render.note(f"{embedder}: {hasher.preprocessing}")
    render.note(f"wrote {output}: {architecture.bits} bits, fitted to {hasher.training['images']} images")
