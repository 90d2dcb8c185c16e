"""Describe an index without opening more of it than its manifest."""

from pathlib import Path

from ..system.arguments import checked
from . import manifest
from .locations import is_server


@checked
def index_info(location: str | Path) -> dict[str, int | str]:
    """Return the type, size and model of an index; for a folder, only the manifest is read.

    Keys are ``backend``, ``type`` and other details from the backend, ``codes``, ``bits``, ``model``,
    ``digest``, ``next_id`` (above all ids ever used), and for a folder ``bytes`` (on disk).

    Raises TypeError if `location` is not a path or text; IndexFolderError if it is not an index folder; BackendError
    if the server does not answer or has no such collection.
    """
    if is_server(location):
        from . import collection  # loads numpy, which a folder's manifest does not need

        return collection.open(location).info()
    return manifest.read(Path(location)).described()
