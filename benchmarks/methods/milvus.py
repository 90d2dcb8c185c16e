"""The binary indexes of Milvus, on the user's server, with as many lists as for FAISS, on which Milvus is based.

Queries are sent through the Milvus client, so times include a round trip.
"""

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from .base import Ids, Method, doubling
from .faiss_base import lists

_BATCH = 10_000  # rows per insert


class _Milvus(Method):
    family = "peer"
    package = "pymilvus"
    server = True

    def __init__(self, threads: int, uri: str = "") -> None:
        """Connect to the server at `uri`, with the token in the environment variable MILVUS_TOKEN, if set."""
        from pymilvus import MilvusClient

        super().__init__(threads, uri)
        self._client = MilvusClient(uri, token=os.environ.get("MILVUS_TOKEN", ""))
        self._name = "".join(letter if letter.isalnum() else "_" for letter in f"transhash {self.name}")

    @abstractmethod
    def index_type(self, count: int) -> tuple[str, dict[str, Any]]:
        """Return the index type of Milvus and its parameters."""

    def build(self, collection: Collection) -> dict[str, Any]:
        """Create a collection on the server, insert the codes, build the index and load it."""
        from pymilvus import DataType

        self.drop()
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("code", DataType.BINARY_VECTOR, dim=collection.bits)
        kind, params = self.index_type(collection.count)
        index = self._client.prepare_index_params()
        index.add_index("code", index_type=kind, metric_type="HAMMING", params=params)
        self._client.create_collection(self._name, schema=schema)
        codes = collection.codes
        for start in range(0, len(codes), _BATCH):
            rows = [
                {"id": start + place, "code": code.tobytes()}
                for place, code in enumerate(codes[start : start + _BATCH])
            ]
            self._client.insert(self._name, rows)
        self._client.flush(self._name)
        self._client.create_index(self._name, index)
        self._client.load_collection(self._name)
        return params

    def save(self, folder: Path) -> None:
        """Do nothing: the index is on the server."""

    def load(self, folder: Path) -> None:
        """Load the collection on the server."""
        self._client.load_collection(self._name)

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search on the server, with `value` for the search parameter."""
        params = {self.search_parameter: value} if self.search_parameter else {}
        found = self._client.search(
            self._name,
            [query.tobytes() for query in queries],
            anns_field="code",
            limit=k,
            search_params={"metric_type": "HAMMING", "params": params},
        )
        ids = np.full((len(queries), k), -1, np.int64)
        for query, hits in enumerate(found):
            ids[query, : len(hits)] = [hit["id"] for hit in hits]
        return ids

    def drop(self) -> None:
        """Remove the collection from the server."""
        if self._client.has_collection(self._name):
            self._client.drop_collection(self._name)


class BinFlat(_Milvus):
    """Exact search by a linear scan."""

    name = "Milvus BIN_FLAT"

    def index_type(self, count: int) -> tuple[str, dict[str, Any]]:
        """Return the index type of Milvus and its parameters."""
        return "BIN_FLAT", {}


class BinIvfFlat(_Milvus):
    """Inverted lists of codes."""

    name = "Milvus BIN_IVF_FLAT"
    search_parameter = "nprobe"

    def index_type(self, count: int) -> tuple[str, dict[str, Any]]:
        """Return the index type of Milvus and its parameters."""
        return "BIN_IVF_FLAT", {"nlist": lists(count)}

    def parameter_values(self) -> list[int]:
        """Return powers of two from 1 to 512."""
        return doubling(1, 512)


METHODS = (BinFlat, BinIvfFlat)
