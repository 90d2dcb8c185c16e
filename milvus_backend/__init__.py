"""Collections on a Milvus server, which stores codes, ids, paths and labels. See ``docs/milvus.md``."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it is raised, too; gRPC reads this once, when it is imported

from .collection import MilvusCollection

__all__ = ["MilvusCollection"]
