"""The FAISS backend of TransHash: binary indexes, found through the entry point ``faiss``."""

from .index import FaissIndex

__all__ = ["FaissIndex"]
