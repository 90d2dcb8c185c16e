"""Handlers that report what is served, and the state of the server."""

import os
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from ...duplicates import default_radius
from ..encoder import MAX_BYTES
from ..queries import MAX_K
from ..served import ServedIndex
from ..thumbnails import SIZES
from .answers import answer
from .schemas import Health, Indexes, IndexInfo, IndexState, Readiness, Word
from .service import Service


async def indexes(service: Service, request: Request) -> Response:
    """List the indexes and what the server allows."""
    described = [await service.work(_described, served) for served in service.engine.indexes.values()]
    return answer(
        Indexes(described, service.allow_trash, MAX_BYTES, MAX_K, list(SIZES), version("transhash")),
    )


async def health(service: Service, request: Request) -> Response:
    """Report that the process is alive."""
    return answer(Health("ok"))


async def readiness(service: Service, request: Request) -> Response:
    """Report whether the server is ready, and which state of each index it serves."""
    served = service.engine.indexes.values()
    states = [IndexState(index.name, index.snapshot.generation, index.fault or None) for index in served]
    status = "stopping" if service.stopping else "stale" if any(state.fault for state in states) else "ready"
    shown = states if service.admits(request) else None
    return answer(Readiness(status, shown), 503 if service.stopping else 200)


def _described(served: ServedIndex) -> IndexInfo:
    snapshot, folder = served.state
    model = snapshot.model
    return IndexInfo(
        name=served.name,
        count=len(snapshot),
        bits=model.bits,
        model=model.name,
        type=snapshot.type,
        generation=snapshot.generation,
        root=None if folder.root is None else os.fsdecode(folder.root),
        labels=len(snapshot.label_counts) if snapshot.is_local else 0,
        images=folder.root is not None and os.path.exists(folder.root),
        codes=snapshot.is_local,
        reranks=["asymmetric"] if model.name != "phash" and snapshot.is_local else [],
        default_radius=default_radius(model, len(snapshot)),
        words=[Word(within, word) for within, word in snapshot.words],
        fault=served.fault or None,
    )
