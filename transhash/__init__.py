"""TransHash: find similar images with codes of 8 to 1,024 bits per image.

    import transhash

    codes = transhash.encode("photos/")                        # with "copy"; or name a hasher made by `th train`
    index = transhash.build_index(codes, "photos.index")       # later: transhash.open("photos.index")
    for match in index.search("cat.jpg", k=10)[0]:
        print(match.path, match.distance)

Importing this package loads neither torch nor numpy: names are resolved when they are first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if os.name != "posix":
    raise ImportError("TransHash runs on Linux and macOS; on Windows, use the Windows Subsystem for Linux (WSL)")

if TYPE_CHECKING:
    from .codes import Codes, ModelRef, Records, read_codes, truncate, truncate_codes, write_codes
    from .codes.describing import describe_codes
    from .codes.exchange import export_codes
    from .codes.merging import merge_codes
    from .codes.verifying import verify_codes
    from .datasets.protocols import check_protocol, list_protocols, make_protocol
    from .demo import make_demo
    from .duplicates import dedup, suggest_radius
    from .encoding.importing import import_codes
    from .encoding.run import encode, encode_to_file
    from .encoding.summary import EncodingSummary
    from .errors import TransHashError
    from .hashers import export_hasher, load_hasher, push_hasher
    from .hashers.architecture import Architecture
    from .hashers.embedder_config import EmbedderConfig
    from .index.collection import build_index, export_index, merge_indexes, open, query, tune
    from .index.describing import index_info
    from .index.filters import Filter
    from .index.index import Index
    from .index.matches import Match, Matches
    from .report.evaluate import Evaluation, evaluate
    from .serving.run import serve
    from .sources import open_source
    from .training.config import FitConfig, TrainConfig
    from .training.presets import Preset, preset
    from .training.run import fit, shrink_hasher, soup, train
    from .training.watcher import StepResult, Watcher

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "hashers.architecture",
    "Codes": "codes",
    "EmbedderConfig": "hashers.embedder_config",
    "EncodingSummary": "encoding.summary",
    "Evaluation": "report.evaluate",
    "Filter": "index.filters",
    "FitConfig": "training.config",
    "Index": "index.index",
    "Match": "index.matches",
    "Matches": "index.matches",
    "ModelRef": "codes",
    "Preset": "training.presets",
    "Records": "codes",
    "StepResult": "training.watcher",
    "TrainConfig": "training.config",
    "TransHashError": "errors",
    "Watcher": "training.watcher",
    "build_index": "index.collection",
    "check_protocol": "datasets.protocols",
    "dedup": "duplicates",
    "describe_codes": "codes.describing",
    "encode": "encoding.run",
    "encode_to_file": "encoding.run",
    "evaluate": "report.evaluate",
    "export_codes": "codes.exchange",
    "export_hasher": "hashers",
    "export_index": "index.collection",
    "fit": "training.run",
    "import_codes": "encoding.importing",
    "index_info": "index.describing",
    "list_protocols": "datasets.protocols",
    "load_hasher": "hashers",
    "make_demo": "demo",
    "make_protocol": "datasets.protocols",
    "merge_codes": "codes.merging",
    "merge_indexes": "index.collection",
    "open": "index.collection",
    "open_source": "sources",
    "preset": "training.presets",
    "push_hasher": "hashers",
    "query": "index.collection",
    "read_codes": "codes",
    "serve": "serving.run",
    "shrink_hasher": "training.run",
    "soup": "training.run",
    "suggest_radius": "duplicates",
    "train": "training.run",
    "truncate": "codes",
    "truncate_codes": "codes",
    "tune": "index.collection",
    "verify_codes": "codes.verifying",
    "write_codes": "codes",
}

__all__ = [
    "Architecture",
    "Codes",
    "EmbedderConfig",
    "EncodingSummary",
    "Evaluation",
    "Filter",
    "FitConfig",
    "Index",
    "Match",
    "Matches",
    "ModelRef",
    "Preset",
    "Records",
    "StepResult",
    "TrainConfig",
    "TransHashError",
    "Watcher",
    "build_index",
    "check_protocol",
    "dedup",
    "describe_codes",
    "encode",
    "encode_to_file",
    "evaluate",
    "export_codes",
    "export_hasher",
    "export_index",
    "fit",
    "import_codes",
    "index_info",
    "list_protocols",
    "load_hasher",
    "make_demo",
    "make_protocol",
    "merge_codes",
    "merge_indexes",
    "open",
    "open_source",
    "preset",
    "push_hasher",
    "query",
    "read_codes",
    "serve",
    "shrink_hasher",
    "soup",
    "suggest_radius",
    "train",
    "truncate",
    "truncate_codes",
    "tune",
    "verify_codes",
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
