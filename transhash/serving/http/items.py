"""Handlers for browsing an index without a query."""

import os
from typing import BinaryIO

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from ...errors import BackendError, ImageError, SelectionError
from ...index.filters import Filter
from ...sources import decode
from .. import browsing
from ..files import ImageFolder
from ..served import ServedIndex
from ..snapshot import Shown, Snapshot
from . import reading
from .answers import answer
from .schemas import Count, FileInfo, FolderCount, Folders, Item, ItemInfo, Items, Labels
from .service import Service

_LIMIT = 50
_MOST = 1000
_MAX_SEED = 999_999_999


async def items(service: Service, request: Request) -> Response:
    """List the images of an index, in order or at random."""
    served = service.index(request)
    globs, labels = reading.several(request, "glob"), reading.several(request, "label")
    order = reading.known(request, "order", ("id", "random"))
    seed = reading.whole(request, "seed", 0, 0, _MAX_SEED) if order == "random" else None
    where = Filter(globs, labels) if globs or labels else None
    limit = reading.whole(request, "limit", _LIMIT, 1, _MOST)
    return answer(await service.work(_items, served, where, seed, limit, reading.place(request)))


async def item(service: Service, request: Request) -> Response:
    """Describe one image."""
    served = service.index(request)
    return answer(await service.work(_item, served, reading.id_of(request)))


async def labels(service: Service, request: Request) -> Response:
    """List labels for completion."""
    prefix, limit = request.query_params.get("prefix", ""), reading.whole(request, "limit", _LIMIT, 1, _MOST)
    found, total = await service.work(browsing.labels, service.index(request).snapshot, prefix, limit)
    return answer(Labels([Count(name, count) for name, count in found], total))


async def folders(service: Service, request: Request) -> Response:
    """List folders for completion."""
    prefix, limit = request.query_params.get("prefix", ""), reading.whole(request, "limit", _LIMIT, 1, _MOST)
    found, total = await service.work(browsing.folders, service.index(request).snapshot, prefix, limit)
    return answer(Folders([FolderCount(path, count) for path, count in found], total))


def _items(served: ServedIndex, where: Filter | None, seed: int | None, limit: int, start: int) -> Items:
    snapshot = served.snapshot
    page = browsing.browse(snapshot, where, seed, limit, start)
    shown = zip(page.ids.tolist(), snapshot.shown(page.ids), strict=True)
    return Items(
        served.name,
        [ItemInfo(id, os.fsdecode(image.path), image.labels) for id, image in shown],
        page.total,
        None if page.following is None else str(page.following),
    )


def _item(served: ServedIndex, id: int) -> Item:
    snapshot, folder = served.state
    image = shown_of(snapshot, id)
    try:
        code = snapshot.codes(np.array([id], np.int64))[0].tobytes().hex()
    except BackendError:
        code = None
    return Item(served.name, id, os.fsdecode(image.path), image.labels, code, file_info(folder, image.path))


def shown_of(snapshot: Snapshot, id: int) -> Shown:
    """Return the path and labels of an image. Raises SelectionError if the id is not in the index."""
    return snapshot.shown(np.array([id], np.int64))[0]


def file_info(folder: ImageFolder, path: bytes) -> FileInfo | None:
    """Describe the file of an image; None if images are not served."""
    if folder.root is None:
        return None
    try:
        with folder.opened(path) as (file, found):
            width, height = _dimensions(file)
            return FileInfo(found.st_size, found.st_mtime, width, height, "present")
    except SelectionError:
        return FileInfo(None, None, None, None, "archived" if folder.in_archive(path) else "missing")


def _dimensions(file: BinaryIO) -> tuple[int | None, int | None]:
    try:
        return decode.dimensions(file)
    except (ImageError, OSError):
        return None, None
