"""Mark codes that a hasher computed with ``--fast``: some bits differ, so they must not be mixed unnoticed.

The digest of the model of such codes ends in ``+fast``, before the suffix of truncated codes.
"""

import json
from dataclasses import replace

from .records import ModelRef

_FAST = "+fast"


def fast_model(model: ModelRef) -> ModelRef:
    """Return the reference to a hasher, of codes that are not truncated, that computes with ``--fast``."""
    prepared = json.dumps({**json.loads(model.preprocessing), "precision": "int8"})
    return replace(model, digest=model.digest + _FAST, preprocessing=prepared)


def is_fast(model: ModelRef) -> bool:
    """Return whether codes of `model` were computed with ``--fast``."""
    return model.digest.partition("/")[0].endswith(_FAST)


def file_digest(model: ModelRef) -> str:
    """Return the digest of the hasher's file, whatever the length and arithmetic of the codes."""
    return model.digest.partition("/")[0].removesuffix(_FAST)


def described(model: ModelRef) -> str:
    """Return the name of a model, with ``--fast`` if that computed its codes, its bits, and how its digest begins."""
    name, mark = (f"{model.name} --fast", _FAST) if is_fast(model) else (model.name, "")
    return f"{name} ({model.bits} bits, digest {file_digest(model)[:12]}{mark})"


def mixing(one: ModelRef, other: ModelRef) -> str:
    """Return how to make codes of one hasher comparable of which some were computed with ``--fast``; else empty."""
    if is_fast(one) == is_fast(other) or file_digest(one) != file_digest(other):
        return ""
    return "only one was computed with --fast (fast=True): encode both with it, or both without"
