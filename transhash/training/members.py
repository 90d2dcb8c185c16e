"""Check whether hashers can be averaged, using only the metadata of their files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..hashers.header import HasherConfig, read_network
from ..system.files import display
from .config import TARGETED

_LONGEST = 60  # maximum number of characters of a value in a message


def check(paths: Sequence[str | Path]) -> None:
    """Raise ModelError if hashers cannot be averaged; the message names the first difference."""
    if len(paths) < 2:
        raise ModelError("a soup is the mean of two hashers or more; give at least two files")
    configs = [read_network(path) for path in paths]
    for path, config in zip(paths, configs, strict=True):
        if objective(config.training) not in TARGETED:
            raise ModelError(
                f"{display(path)}: not trained with --loss {', '.join(TARGETED)}; with another objective every run "
                "learns its own codes, which have no mean"
            )
        for name, value in _compared(configs[0]).items():
            if (other := _compared(config)[name]) != value:
                raise ModelError(
                    f"{display(path)}: {name} is {_short(other)}, that of {display(paths[0])} {_short(value)}"
                )


def objective(training: dict[str, Any]) -> Any:
    """Return the name of the objective that a hasher was trained with, or None if none is recorded."""
    config = training.get("config")
    return config.get("loss") if isinstance(config, dict) else None


def _compared(config: HasherConfig) -> dict[str, Any]:
    """Return everything that the members of a soup must have in common."""
    return {
        **vars(replace(config.architecture, mirror=False)),
        "preprocessing": config.preprocessing,
        "class_names": config.class_names,
        "loss": objective(config.training),
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
