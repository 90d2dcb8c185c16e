"""Answers as JSON."""

import json
from typing import Any

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/json"


def encoded(document: Any) -> bytes:
    """Return a document as JSON; undecodable bytes of a path become surrogates, ``\\udc80`` to ``\\udcff``."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(document)).encode()


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a document as a response that is not cached."""
    return Response(encoded(document), status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)
