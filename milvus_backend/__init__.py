"""Milvus as the place where a collection lies: codes, ids, paths and labels on a server. See ``docs/milvus.md``."""

from .collection import MilvusCollection

__all__ = ["MilvusCollection"]
