"""Objectives: what a batch of outputs costs under its labels. One class each, by the name that ``--loss`` takes."""

from collections.abc import Callable, Sequence

from ..config import LOSSES, TrainConfig
from .base import Objective
from .cauchy import Cauchy
from .classifier import GreedyHash
from .nested import Nested
from .pairwise import DPSH, HashNet
from .targets import CSQ, DPN, OrthoHash

__all__ = ["Objective", "build"]


def build(
    config: TrainConfig, bits: int, classes: int, *, several: bool = False, nested: Sequence[int] = ()
) -> Objective:
    """Return the objective that `config.loss` names, for codes of `bits` and labels of `classes`.

    With `nested` lengths it is the mean over those prefixes of the outputs and the whole (`Nested`).
    `several` says that an image may have several of them, or none.

    γ and λ are those of the configuration, or the objective's own. GreedyHash's classifier starts from torch's
    generator; targets depend on `bits` and `classes` alone.
    """
    settings = {name: getattr(config, name) for name in LOSSES[config.loss]}
    given: dict[str, float] = {name: value for name, value in settings.items() if value is not None}
    lengths = sorted({*nested, bits})
    if len(lengths) > 1:
        return Nested(lengths, [build(config, length, classes, several=several) for length in lengths])
    makers: dict[str, Callable[[], Objective]] = {
        "transhash": lambda: Cauchy(**given),
        "dch": lambda: Cauchy(**{"gamma": 20.0, **given}),
        "dpsh": lambda: DPSH(**given),
        "hashnet": lambda: HashNet(bits),
        "greedyhash": lambda: GreedyHash(bits, classes, several=several, **given),
        "csq": lambda: CSQ(bits, classes, **given),
        "orthohash": lambda: OrthoHash(bits, classes),
        "dpn": lambda: DPN(bits, classes),
    }
    return makers[config.loss]()
