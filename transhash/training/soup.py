"""Model soups: the mean of the weights of several hashers, which hashes better than each and costs no more."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch.optim.swa_utils import AveragedModel

from ..errors import ModelError
from ..hashers.transhash import TransHasher
from .config import TARGETED


def soup(paths: Sequence[str | Path]) -> TransHasher:
    """Average the weights of hashers that were trained apart, but from the same weights.

    The uniform soup of Wortsman et al., *Model soups: averaging weights of multiple fine-tuned models improves
    accuracy without increasing inference time*, ICML 2022. All must have learnt the same code for every class, which
    the objectives with targets see to, whatever seed they had.

    Args:
        paths: files of two hashers or more, of the same architecture, preprocessing, classes and objective; they may
            be soups themselves. One that is named twice counts twice.

    Returns:
        A hasher whose weights are the means. It reads images mirrored, too, if one of them does;
        its `training` lists those of the others.

    Raises ModelError if two of them cannot be averaged, or a file is no hasher.
    """
    if len(paths) < 2:
        raise ModelError("a soup is the mean of two hashers or more; name another one")
    first = TransHasher.load(paths[0])
    _check_objective(first, paths[0])
    mean = AveragedModel(first.net)
    net: Any = mean.module
    members, mirror = [], False
    for path, other in zip(paths, chain([first], map(TransHasher.load, paths[1:])), strict=True):
        _check_alike(first, paths[0], other, path)
        mean.update_parameters(other.net)
        members.append({"sha256": other.ref.digest, "training": other.training})
        mirror |= other.architecture.mirror
    net.mirror = mirror
    training = {"config": {"loss": _loss(first)}, "soup": members}
    architecture = replace(first.architecture, mirror=mirror)
    return TransHasher(net, architecture, first.preprocessing, first.class_names, training)


def _check_objective(hasher: TransHasher, path: str | Path) -> None:
    if _loss(hasher) not in TARGETED:
        raise ModelError(
            f"{path}: not trained with --loss {', '.join(TARGETED)}; each run of another makes up codes of its own, "
            "which have no mean"
        )


def _check_alike(first: TransHasher, path: str | Path, other: TransHasher, other_path: str | Path) -> None:
    """Raise ModelError that names what keeps two hashers from being averaged."""
    _check_objective(other, other_path)
    theirs, ours = (
        {
            **vars(replace(hasher.architecture, mirror=False)),
            "preprocessing": hasher.preprocessing,
            "class_names": hasher.class_names,
            "loss": _loss(hasher),
        }
        for hasher in (other, first)
    )
    for name, value in ours.items():
        if theirs[name] != value:
            raise ModelError(f"{other_path}: {name} is {_short(theirs[name])}, that of {path} {_short(value)}")


def _loss(hasher: TransHasher) -> Any:
    config = hasher.training.get("config")
    return config.get("loss") if isinstance(config, dict) else None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "…"
