"""Checks before a collection is built, changed or replaced: its type, its codes, and what exists at its location."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from .. import backends
from ..codes import Codes, CodesFile, ModelRef, open_codes, read_codes, write_codes
from ..codes.arithmetic import described
from ..codes.models import check_same_model
from ..errors import BackendError, IndexFolderError, MismatchError, TransHashError
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
        raise TypeError(f"type must be the name of an index type, such as 'ivf', not {type.__class__.__name__}")
    name, colon, kind = type.partition(":")
    if colon:
        return name, kind or None
    return (name, None) if backends.has(name) else (_DEFAULT, type)


def codes_input(codes: Any) -> Codes | Path:
    """Return codes, or the path of a codes file. Raises TypeError for anything else."""
    if isinstance(codes, Codes):
        return codes
    if isinstance(codes, str | Path):
        return Path(codes)
    raise TypeError(f"codes must be Codes or the path of a codes file, not {codes.__class__.__name__}")


def codes_inputs(codes: Any) -> list[Codes | Path]:
    """Return one or several codes or paths of codes files as a list. Raises TypeError for anything else."""
    parts = [codes] if isinstance(codes, Codes | str | Path) else sequence(codes)
    return [codes_input(part) for part in parts]


def in_memory(codes: Codes | Path) -> Codes:
    """Return codes as they are, or read a codes file. Raises CodesError if it is damaged."""
    return codes if isinstance(codes, Codes) else read_codes(codes)


def sequence(values: Any) -> Sequence[Any]:
    """Return a list or tuple as it is. Raises TypeError for anything else."""
    if isinstance(values, list | tuple):
        return values
    raise TypeError(f"expected one value or a list of them, not {values.__class__.__name__}")


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


@contextmanager
def open_rows(path: Path) -> Iterator[CodesFile]:
    """Open a codes file to load it. Raises CodesError, and MismatchError if it has no rows."""
    with open_codes(path, embeddings=False) as file:
        if not len(file):
            raise MismatchError(f"{path}: holds no codes; encode some images first")
        yield file


class Described(Protocol):
    """The part of a server's description of a collection that its type is known by."""

    @property
    def model(self) -> ModelRef:
        """The model that made the codes."""

    @property
    def type(self) -> str:
        """The index type."""

    @property
    def params(self) -> Mapping[str, int]:
        """The parameters of the index."""


def check_same_collection(
    location: object, codes: Path, there: Described, wanted: Described, *, same_rows: bool, typed: bool
) -> None:
    """Check that a collection on a server is the one that would be built.

    Args:
        location: of the collection.
        codes: the codes file to build it from.
        there: the collection that exists.
        wanted: the one to build.
        same_rows: whether it was built from the codes file, and has not changed since.
        typed: whether the caller asked for a type; otherwise any will do.

    Raises MismatchError if it is of another model; BackendError if it has other rows or another type.
    """
    check_same_model(wanted.model, there.model, f"{codes}", f"{location}")
    if not same_rows:
        raise BackendError(
            f"{location}: exists already, built from another file than {codes} or changed since; change it with "
            "th index add or sync, or choose another name"
        )
    if typed and (wanted.type, wanted.params) != (there.type, there.params):
        raise BackendError(
            f"{location}: exists already, as type {there.type} with {there.params}; "
            "leave --type (type=) out, or choose another name"
        )


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
        made = ModelRef(stored.model, stored.model_digest, stored.bits)
        what = f"by {described(made)}, but the new ones are by {described(model)}"
    elif there is not None and there != root:
        what = f"of {_named(there)}, but the new ones are of {_named(root)}"
    if what:
        raise IndexFolderError(
            f"{display(folder)}: holds {stored.count} codes {what}; replace it with --force (force=True), "
            "or choose another output"
        )


def _root(folder: Path, stored: manifest.Manifest) -> bytes | None:
    return LocalIndex.open(folder).records.root if stored.root is None else stored.root_bytes()


def _named(root: bytes) -> str:
    return display(root) if root else "several folders"
