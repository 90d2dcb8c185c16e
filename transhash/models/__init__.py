"""Hashers that come with the package, as files; ``docs/copy-model.md`` is the model card."""

from pathlib import Path

COPY = Path(__file__).with_name("copy.safetensors")
