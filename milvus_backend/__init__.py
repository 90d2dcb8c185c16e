"""Milvus as the place where a collection lies: codes, ids, paths and labels on a server. See ``docs/milvus.md``."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it is raised, too; gRPC reads this once, when it is imported

from .collection import MilvusCollection

__all__ = ["MilvusCollection"]
