"""Model soups: the mean of the weights of several hashers, often more accurate than any of them at the same cost."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch.optim.swa_utils import AveragedModel

from ..hashers.transhash import TransHasher
from .members import objective


def average(paths: Sequence[str | Path]) -> TransHasher:
    """Average the weights of hashers that `members.check` accepts; see `transhash.soup`.

    Raises ModelError if a file is damaged.
    """
    first = TransHasher.load(paths[0])
    mean = AveragedModel(first.net)
    net: Any = mean.module
    members, mirror = [], False
    for other in chain([first], map(TransHasher.load, paths[1:])):
        mean.update_parameters(other.net)
        members.append({"sha256": other.ref.digest, "training": other.training})
        mirror |= other.architecture.mirror
    net.mirror = mirror
    training = {"config": {"loss": objective(first.training)}, "soup": members}
    architecture = replace(first.architecture, mirror=mirror)
    return TransHasher(net, architecture, first.preprocessing, first.class_names, training)
