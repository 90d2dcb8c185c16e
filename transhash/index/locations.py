"""Locations of indexes: a folder, or ``NAME://…`` on a server."""

import os


def is_server(location: str | os.PathLike[str]) -> bool:
    """Return whether a location is on a server."""
    return "://" in os.fspath(location)
