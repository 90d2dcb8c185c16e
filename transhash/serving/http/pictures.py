"""Handlers that return pictures: the image files of an index, and thumbnails."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import BinaryIO
from urllib.parse import quote

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...errors import ImageError, SelectionError
from ...sources import decode
from ..files import ImageFolder
from ..thumbnails import SIZES, as_jpeg, file_tag, is_known
from . import reading
from .items import shown_of
from .service import Service

_CHUNK = 1 << 18
_PIXEL = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\0\0\0!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
_CACHE = "private, max-age=300"
_DEFAULT = 256
_MAX_SIZE = 4096
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
)


async def image(service: Service, request: Request) -> Response:
    """Return an image file as it is, or as JPEG if browsers do not show its format."""
    served = service.index(request)
    snapshot, folder = served.state
    shown = await service.work(shown_of, snapshot, reading.id_of(request))
    known = request.headers.get("if-none-match", "")
    try:
        return await service.work(_image, folder, shown.path, known)
    except (SelectionError, ImageError) as error:
        return _blank(request, error)


async def thumbnail(service: Service, request: Request) -> Response:
    """Return a small upright picture of an image."""
    served = service.index(request)
    snapshot, folder = served.state
    wanted = reading.whole(request, "size", _DEFAULT, 1, _MAX_SIZE)
    size = next((size for size in SIZES if size >= wanted), SIZES[-1])
    shown = await service.work(shown_of, snapshot, reading.id_of(request))
    known = request.headers.get("if-none-match", "")
    try:
        found = await service.result(service.engine.thumbnails.get(folder, shown.path, size, known))
    except (SelectionError, ImageError) as error:
        return _blank(request, error)
    if found.data is None:
        return _unchanged(found.tag)
    return Response(found.data, headers={"ETag": found.tag, "Cache-Control": _CACHE}, media_type="image/jpeg")


def _image(folder: ImageFolder, path: bytes, known: str) -> Response:
    file, found = folder.open(path)
    with ExitStack() as stack:
        stack.callback(file.close)
        tag = file_tag(found)
        if is_known(tag, known):
            return _unchanged(tag)
        head = file.read(16)
        file.seek(0)
        kind = next((kind for start, mark, kind in _SIGNATURES if head[start:].startswith(mark)), None)
        name = quote(os.path.basename(path))
        headers = {"ETag": tag, "Cache-Control": _CACHE, "Content-Disposition": f"inline; filename*=UTF-8''{name}"}
        if kind is None:
            return Response(as_jpeg(decode.read_file(file)), headers=headers, media_type="image/jpeg")
        headers["Content-Length"] = str(found.st_size)
        stack.pop_all()
        return StreamingResponse(_streamed(file, found.st_size), headers=headers, media_type=kind)


async def _streamed(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    """Yield a file, and close it however the request ends."""
    try:
        async for chunk in iterate_in_threadpool(_chunks(file, size)):
            yield chunk
    finally:
        file.close()


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield exactly as many bytes as were announced, or fewer if the file was cut meanwhile."""
    while size and (chunk := file.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _blank(request: Request, error: SelectionError | ImageError) -> Response:
    """Return a single transparent pixel if the client asked for that; else raise the error.

    A browser logs every picture that is answered by an error, and a page cannot prevent it.
    """
    if reading.known(request, "blank", ("false", "true")) == "false":
        raise error
    return Response(_PIXEL, headers={"Cache-Control": "no-store"}, media_type="image/gif")


def _unchanged(tag: str) -> Response:
    return Response(status_code=304, headers={"ETag": tag, "Cache-Control": _CACHE})
