"""Methods that search: ours and its peers, one module a library. None imports its library before it is made."""

from importlib.util import find_spec

from transhash.errors import ResultsError

from . import faiss_binary, faiss_float, hnswlib, milvus, ours, usearch
from .base import Method

__all__ = ["METHODS", "Method", "find", "missing"]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for module in (ours, faiss_binary, usearch, milvus, faiss_float, hnswlib)
    for method in module.METHODS
}


def find(name: str) -> type[Method]:
    """Return the method of a name. Raises ResultsError if there is none."""
    if name not in METHODS:
        raise ResultsError(f"no method {name!r}; available: {', '.join(METHODS)}")
    return METHODS[name]


def missing(method: type[Method], uri: str) -> str:
    """Return why a method cannot run here; empty if it can."""
    if find_spec(method.package) is None:
        return f"{method.package} is not installed: pip install '.[bench]'"
    if method.server and not uri:
        return "no server was given: --milvus-uri"
    return ""
