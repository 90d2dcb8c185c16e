"""TransHash: find similar images with 16 to 256 bits per image.

    import transhash

    hasher = transhash.load_hasher("phash")               # or a file made by `th train`
    codes = transhash.encode("photos/", hasher)           # a folder, or a list of files
    index = transhash.Index.build(codes)                  # FAISS; index.save("photos.index") keeps it
    matches = index.search(transhash.encode(["cat.jpg"], hasher), k=10)

Importing this package loads neither torch nor numpy: names are resolved when they are first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if os.name != "posix":
    raise ImportError("TransHash runs on Linux and macOS; on Windows, use the Windows Subsystem for Linux (WSL)")

if TYPE_CHECKING:
    from .codes import Codes, read_codes, truncate, truncate_codes, write_codes
    from .duplicates import dedup
    from .encoding.run import encode, encode_to_file
    from .encoding.summary import EncodingSummary
    from .errors import TransHashError
    from .hashers import load_hasher
    from .hashers.architecture import Architecture
    from .index.index import Index
    from .report.evaluate import Evaluation, evaluate
    from .results import Nearest, Within
    from .training.config import FitConfig, TrainConfig
    from .training.run import fit, soup, train
    from .training.watcher import StepResult, Watcher

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "hashers.architecture",
    "Codes": "codes",
    "FitConfig": "training.config",
    "Evaluation": "report.evaluate",
    "Index": "index.index",
    "Nearest": "results",
    "StepResult": "training.watcher",
    "Within": "results",
    "TrainConfig": "training.config",
    "TransHashError": "errors",
    "dedup": "duplicates",
    "Watcher": "training.watcher",
    "EncodingSummary": "encoding.summary",
    "encode": "encoding.run",
    "encode_to_file": "encoding.run",
    "evaluate": "report.evaluate",
    "fit": "training.run",
    "load_hasher": "hashers",
    "read_codes": "codes",
    "soup": "training.run",
    "train": "training.run",
    "truncate": "codes",
    "truncate_codes": "codes",
    "write_codes": "codes",
}

__all__ = [
    "Architecture",
    "Codes",
    "EncodingSummary",
    "Evaluation",
    "FitConfig",
    "Index",
    "Nearest",
    "StepResult",
    "TrainConfig",
    "TransHashError",
    "Watcher",
    "Within",
    "dedup",
    "encode",
    "encode_to_file",
    "evaluate",
    "fit",
    "load_hasher",
    "read_codes",
    "soup",
    "train",
    "truncate",
    "truncate_codes",
    "write_codes",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
