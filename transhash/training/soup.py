"""Model soups: the mean of the weights of several hashers, which hashes better than each and costs no more."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
        A hasher whose weights are the means, added up in float64. It reads images mirrored, too, if one of them does;
        its `training` lists those of the others.

    Raises ModelError if two of them cannot be averaged, or a file is no hasher with torch weights.
    """
    if len(paths) < 2:
        raise ModelError("a soup is the mean of two hashers or more; name another one")
    first = TransHasher.load(paths[0])
    _check_objective(first, paths[0])
    total = {name: weight.double() for name, weight in first.net.state_dict().items()}
    members = [_described(first)]
    mirror = first.architecture.mirror
    for path in paths[1:]:
        other = TransHasher.load(path)
        _check_alike(first, paths[0], other, path)
        for name, weight in other.net.state_dict().items():
            total[name] += weight
        members.append(_described(other))
        mirror |= other.architecture.mirror
    first.net.load_state_dict({name: (weight / len(paths)).float() for name, weight in total.items()})
    first.net.mirror = mirror
    training = {"config": {"loss": _loss(first)}, "soup": members}
    architecture = replace(first.architecture, mirror=mirror)
    return TransHasher(first.net, architecture, first.preprocessing, first.class_names, training)


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


def _described(hasher: TransHasher) -> dict[str, Any]:
    return {"sha256": hasher.ref.digest, "training": hasher.training}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "…"
