"""Read the parameters, JSON body or image of a request, within limits and without writing to disk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from ..batching import BusyError
from ..encoder import MAX_BYTES
from .problems import Problem, bad_request

MAX_JSON = 1 << 20  # bytes
MAX_REVIEW = 1 << 25  # bytes of the ids of a review
BODY_SECONDS = 30.0  # time for a request body to arrive

_MAX_PLACE = 1 << 48
_ENVELOPE = 1 << 16  # bytes of a multipart body besides the image
_MOST_VALUES = 64
_UPLOAD_BYTES = 1 << 29  # bytes of all uploads in memory at a time

Body = TypeVar("Body")
T = TypeVar("T")


class _Memory(MultiPartParser):
    """Keeps files in memory, however large: the body as a whole is limited."""

    spool_max_size = MAX_BYTES + _ENVELOPE + 1


def whole(request: Request, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number among the parameters. Raises Problem if it is not one from `low` to `high`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and low <= int(text) <= high):
        raise bad_request(f"{name}: must be a whole number from {low} to {high}")
    return int(text)


def place(request: Request) -> int:
    """Return where the page that ``cursor`` names starts. Raises Problem if the cursor is not one of this server."""
    return whole(request, "cursor", 0, 0, _MAX_PLACE)


def several(request: Request, name: str) -> list[str]:
    """Return all values of a parameter. Raises Problem if there are too many."""
    values = request.query_params.getlist(name)
    if len(values) > _MOST_VALUES:
        raise bad_request(f"{name}: at most {_MOST_VALUES} values")
    return values


def id_of(request: Request) -> int:
    """Return the id in the path. Raises Problem if it is not one."""
    text = request.path_params["id"]
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 1 << 63):
        raise Problem(HTTPStatus.NOT_FOUND, f"{text[:40]!r}: not an id")
    return int(text)


def known(request: Request, name: str, values: tuple[str, ...]) -> str:
    """Return a parameter that must be one of `values`, by default the first. Raises Problem for another."""
    text = request.query_params.get(name, values[0])
    if text not in values:
        raise bad_request(f"{name}: choose one of {', '.join(values)}")
    return text


def media_type(request: Request) -> str:
    """Return the type of the body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def document(request: Request, kind: type[Body], most: int = MAX_JSON) -> Body:
    """Read a JSON body of at most `most` bytes. Raises Problem if it is not as documented."""
    if media_type(request) != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON, with Content-Type: application/json")
    return parsed(await _in_time(_joined(_limited(request, most))), kind)


def parsed(data: bytes | str, kind: type[Body]) -> Body:
    """Return a JSON document as a struct. Raises Problem if it is not one."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body is not as documented: {error}") from None


class Uploads:
    """A bound on the bytes of all uploads that are in memory."""

    def __init__(self, most: int = _UPLOAD_BYTES) -> None:
        """Allow `most` bytes."""
        self._most = most
        self.held = 0

    @asynccontextmanager
    async def reading(self, request: Request) -> AsyncIterator[tuple[bytes, str]]:
        """Read a multipart body, and yield the parts ``image`` and ``query``; they count until the block ends.

        Raises Problem if there is no image, or something else; BusyError if other uploads fill the memory.
        """
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in _limited(request, MAX_BYTES + _ENVELOPE):
                size += len(chunk)
                self.held += len(chunk)
                if self.held > self._most:
                    raise BusyError("other uploads are being read; try again in a second")
                yield chunk

        try:
            yield await _parts(request, counted())
        finally:
            self.held -= size


async def _parts(request: Request, stream: Any) -> tuple[bytes, str]:
    try:
        parser = _Memory(request.headers, stream, max_files=2, max_fields=2, max_part_size=_ENVELOPE)
        form = await _in_time(parser.parse())
    except (MultiPartException, KeyError) as error:
        raise bad_request(f"the body is not as documented: {getattr(error, 'message', error)}") from None
    try:
        image, query = form.get("image"), form.get("query", "{}")
        if not isinstance(image, UploadFile) or set(form) - {"image", "query"}:
            raise bad_request("the body needs a part named image with a file name, and may have one named query")
        if (image.size or 0) > MAX_BYTES:
            raise _too_large("the image", MAX_BYTES)
        text = query if isinstance(query, str) else (await query.read()).decode("utf-8", "replace")
        return await image.read(), text
    finally:
        await form.close()


async def _limited(request: Request, most: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives. Raises Problem if it is too large."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise _too_large("the body", most)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large("the body", most)
        yield chunk


def _too_large(what: str, most: int) -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{what} is larger than {most:,} bytes")


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def _in_time(reading: Awaitable[T]) -> T:
    """Wait for a body. Raises Problem if it takes too long, or the client goes away."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await reading
    except TimeoutError:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, f"the body took more than {BODY_SECONDS:.0f} seconds") from None
    except ClientDisconnect:
        raise bad_request("the connection was closed before the body was complete") from None
