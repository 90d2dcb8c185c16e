"""LanceDB: a collection in a folder or a bucket, as a versioned table. See ``docs/lance.md``."""

from .collection import LanceCollection

__all__ = ["LanceCollection"]
