"""Checks before an index is built or replaced: its type, its codes, and whether something exists at its location."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .. import backends
from ..codes import Codes, ModelRef, write_codes
from ..errors import IndexFolderError, TransHashError
from ..system.files import display
from . import manifest
from .local import LocalIndex

_DEFAULT = "faiss"


def resolve(type: str | None) -> tuple[str, str | None]:
    """Return the backend and its index type for a type argument; None for the backend's default type.

    ``ivf`` is a type of FAISS, ``mine`` the default type of the installed backend of that name, and ``mine:tree`` one
    of its others. Raises TypeError if `type` is not text.
    """
    if type is None:
        return _DEFAULT, None
    if not isinstance(type, str):
        raise TypeError(f"type is the name of an index type, such as 'ivf'; not {type.__class__.__name__}")
    name, colon, kind = type.partition(":")
    if colon:
        return name, kind or None
    return (name, None) if name in backends.names() else (_DEFAULT, type)


def codes_input(codes: Any) -> Codes | Path:
    """Return codes, or the path of a codes file. Raises TypeError for anything else."""
    if isinstance(codes, Codes):
        return codes
    if isinstance(codes, str | Path):
        return Path(codes)
    raise TypeError(f"codes are Codes or the path of a codes file; not {codes.__class__.__name__}")


def sequence(values: Any) -> Sequence[Any]:
    """Return a list or tuple as it is. Raises TypeError for anything else."""
    if isinstance(values, list | tuple):
        return values
    raise TypeError(f"one value or a list of them is needed; not {values.__class__.__name__}")


@contextmanager
def as_file(codes: Codes | Path) -> Iterator[Path]:
    """Yield a codes file: servers load codes from files, so that an interrupted load can resume."""
    if isinstance(codes, Path):
        yield codes
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "codes.h5")
        write_codes(path, codes)
        yield path


def check_same_contents(folder: Path, model: ModelRef, root: bytes) -> None:
    """Raise IndexFolderError if an index of another model, or of another image folder, exists at `folder`.

    A damaged index is not checked, since it can only be built again.
    """
    try:
        stored = manifest.read(folder)
        there = _root(folder, stored)
    except (TransHashError, OSError):
        return
    what = ""
    if stored.model_digest != model.digest:
        what = f"by {stored.model}, and these are by {model.name}"
    elif there is not None and there != root:
        what = f"of {_named(there)}, and these are of {_named(root)}"
    if what:
        raise IndexFolderError(
            f"{display(folder)}: holds {stored.count} codes {what}; replace it with --force (force=True), "
            "or choose another output"
        )


def _root(folder: Path, stored: manifest.Manifest) -> bytes | None:
    return LocalIndex.open(folder).records.root if stored.root is None else stored.root_bytes()


def _named(root: bytes) -> str:
    return display(root) if root else "several folders"
