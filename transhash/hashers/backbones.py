"""Names of timm's plain vision transformers, read from its source: importing timm and torch takes seconds."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from ..errors import ModelError

_PLAIN = ("vision_transformer.py", "deit.py")  # modules of timm whose models are plain vision transformers


def check_backbone(name: str) -> None:
    """Raise ModelError if timm has no such model, or it is obviously not a plain vision transformer.

    This preliminary check does not load timm; building the network is the definitive one. If timm is already loaded,
    unknown names pass, because the program may have registered further models.
    """
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return
    models = Path(spec.submodule_search_locations[0]) / "models"
    word = re.compile(rb"\b" + re.escape(name.partition(".")[0].encode()) + rb"\b")
    if not models.is_dir() or any(word.search(_read(models / module)) for module in _PLAIN):
        return
    if any(word.search(_read(module)) for module in models.glob("*.py")):
        raise not_plain(name)
    if "timm" not in sys.modules:
        raise unknown(name)


def unknown(name: str) -> ModelError:
    """Return the error for a name that timm does not know."""
    return ModelError(f"backbone {name!r}: timm has no such model; choose one such as vit_small_patch16_224")


def not_plain(name: str) -> ModelError:
    """Return the error for a model of another kind."""
    return ModelError(
        f"backbone {name}: not a plain vision transformer with a class token; choose one such as "
        "vit_small_patch16_224"
    )


def _read(module: Path) -> bytes:
    return module.read_bytes() if module.is_file() else b""
