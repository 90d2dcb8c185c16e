"""Model cards for the Hugging Face Hub, written from the metadata of a hasher's file."""

import json
from pathlib import Path

from . import header
from .header import AnyConfig, EmbedderHasherConfig

_CARD = """---
library_name: transhash
pipeline_tag: image-feature-extraction
tags: [transhash, image-retrieval, hashing]
---

# {repository}

A hasher of [TransHash](https://arxiv.org/abs/2105.01823): images to codes of {lengths} bits, which are compared by
Hamming distance.

    th encode photos/ -o codes.h5 --model hf://{repository}
    th index build codes.h5 -o photos.index
    th query photos.index cat.jpg

| | |
|---|---|
{rows}

## Training

{training}

Data, licence, measurements and limitations are not in the hasher's file: describe them here.
"""


def text(path: Path, repository: str) -> str:
    """Return the model card of the hasher at `path`, in Markdown. Raises ModelError if it is not a hasher."""
    config = header.read(path)
    rows = "\n".join(f"| {name} | {value} |" for name, value in _properties(config, path).items())
    training = "\n".join(f"    {line}" for line in json.dumps(config.training, indent=2, sort_keys=True).splitlines())
    return _CARD.format(
        repository=repository,
        lengths=", ".join(map(str, config.lengths)),
        rows=rows,
        training=training if config.training else "Not recorded.",
    )


def _properties(config: AnyConfig, path: Path) -> dict[str, str]:
    if isinstance(config, EmbedderHasherConfig):
        network, squashed = f"the ONNX model {config.embedder}, included", config.preprocessing.fit == "squash"
        side = config.preprocessing.size
    else:
        shape = config.architecture
        network = f"{shape.backbone}, {shape.groups} local groups" if shape.groups else shape.backbone
        side, squashed = shape.image_size, config.preprocessing.fit == "squash"
    found = {
        "network": network,
        "input": f"{side} × {side} pixels, " + ("the whole image" if squashed else "the central square"),
        "file": f"{path.stat().st_size / 1e6:.1f} MB",
        "SHA-256": f"`{config.ref(path).digest}`",
    }
    if config.class_names:
        found["classes"] = f"{len(config.class_names):,}"
    for rarity in config.rarity:
        near = ", ".join(f"{count} bits" for count in (rarity.radius(1e-3), rarity.radius(1e-6)))
        found[f"one pair of unrelated images in 10³ and in 10⁶, {rarity.bits} bits"] = f"within {near}"
    return found
