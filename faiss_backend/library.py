"""FAISS, loaded when it is first used: queries of small indexes do without it, because loading it takes longer."""

from typing import Any


def __getattr__(name: str) -> Any:
    import faiss

    return getattr(faiss, name)
