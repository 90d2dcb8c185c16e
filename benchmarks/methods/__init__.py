"""Search methods: TransHash and other libraries, one module per library, which is imported on first use."""

from importlib.util import find_spec

from transhash.errors import ResultsError

from . import faiss_binary, faiss_float, hnswlib, milvus, numkong, ours, usearch
from .base import Method

__all__ = ["METHODS", "Method", "find", "missing"]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for module in (ours, faiss_binary, usearch, numkong, milvus, faiss_float, hnswlib)
    for method in module.METHODS
}


def find(name: str) -> type[Method]:
    """Return the method with a name. Raises ResultsError for an unknown name."""
    if name not in METHODS:
        raise ResultsError(f"no method {name!r}; available: {', '.join(METHODS)}")
    return METHODS[name]


def missing(method: type[Method], uri: str) -> str:
    """Return the reason why a method cannot run here, or an empty string if it can."""
    if find_spec(method.package) is None:
        return f"{method.package} is not installed: pip install '.[bench]'"
    if method.server and not uri:
        return "no server: pass --milvus-uri"
    return ""
