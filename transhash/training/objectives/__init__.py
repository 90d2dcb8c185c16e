"""Objectives: the cost of a batch of outputs given its labels. Each ``--loss`` has a class or is a sum of two."""

from collections.abc import Callable, Sequence

from ..config import LOSSES, TrainConfig
from .base import Objective, Sum
from .cauchy import DCH, TransHash
from .classifier import GreedyHash
from .copies import Copies
from .nested import Nested
from .pairwise import DPSH, HashNet
from .targets import CSQ, DPN, OrthoHash

__all__ = ["Objective", "build"]

_SUMS = {"orthocauchy": ("orthohash", "transhash")}


def build(
    config: TrainConfig,
    lengths: Sequence[int],
    classes: int,
    *,
    streams: Sequence[int] = (),
    several: bool = False,
) -> Objective:
    """Make the objective `config.loss` for codes of `lengths` bits, ascending, and `classes` classes.

    With more than one length, it is the mean over those prefixes of the outputs (`Nested`). `streams` gives the
    stream that each bit comes from, by default the same one for all; only the term of the paper uses it.
    `several` says whether an image may have several classes or none.

    γ and λ come from the configuration, or default to the objective's values. GreedyHash's classifier is initialised
    from torch's generator; targets depend only on the number of bits and classes.
    """
    settings = {name: getattr(config, name) for name in LOSSES[config.loss]}
    chosen: dict[str, float] = {name: value for name, value in settings.items() if value is not None}
    stream_of = streams or [0] * lengths[-1]
    makers: dict[str, Callable[[int], Objective]] = {
        "transhash": lambda bits: TransHash(stream_of[:bits], **_shared(chosen, bits / lengths[-1])),
        "dch": lambda bits: DCH(**chosen),
        "dpsh": lambda bits: DPSH(**chosen),
        "hashnet": HashNet,
        "greedyhash": lambda bits: GreedyHash(bits, classes, several=several, **chosen),
        "csq": lambda bits: CSQ(bits, classes, **chosen),
        "orthohash": lambda bits: OrthoHash(bits, classes),
        "dpn": lambda bits: DPN(bits, classes),
        "copies": Copies,
    }

    def made(name: str) -> Objective:
        parts = [makers[name](bits) for bits in lengths]
        return Nested(lengths, parts) if len(parts) > 1 else parts[0]

    terms = [made(name) for name in _SUMS.get(config.loss, (config.loss,))]
    return Sum(terms) if len(terms) > 1 else terms[0]


def _shared(settings: dict[str, float], part: float) -> dict[str, float]:
    """Return settings with γ scaled to a prefix that is a fraction `part` of the code."""
    return {name: value * part if name == "gamma" else value for name, value in settings.items()}
