"""Objectives: the cost of a batch of outputs given its labels. Each name that ``--loss`` accepts has a class."""

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
    """Make the objective `config.loss` for codes of `bits` bits and `classes` classes.

    With `nested` lengths it is the mean over those prefixes of the outputs and the whole (`Nested`).
    `several` tells whether an image may have several classes, or none.

    γ and λ come from the configuration, or are the defaults of the objective. GreedyHash's classifier is initialised
    from torch's generator; targets depend only on `bits` and `classes`.
    """
    settings = {name: getattr(config, name) for name in LOSSES[config.loss]}
    chosen: dict[str, float] = {name: value for name, value in settings.items() if value is not None}
    lengths = sorted({*nested, bits})
    if len(lengths) > 1:
        return Nested(lengths, [build(config, length, classes, several=several) for length in lengths])
    makers: dict[str, Callable[[], Objective]] = {
        "transhash": lambda: Cauchy(**chosen),
        "dch": lambda: Cauchy(**{"gamma": 20.0, **chosen}),
        "dpsh": lambda: DPSH(**chosen),
        "hashnet": lambda: HashNet(bits),
        "greedyhash": lambda: GreedyHash(bits, classes, several=several, **chosen),
        "csq": lambda: CSQ(bits, classes, **chosen),
        "orthohash": lambda: OrthoHash(bits, classes),
        "dpn": lambda: DPN(bits, classes),
    }
    return makers[config.loss]()
