"""Handlers that search."""

from dataclasses import replace
from http import HTTPStatus

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from ...index import rerank
from ...index.filters import Filter
from ..queries import MAX_RADIUS, Page, Query, checked_k, code_of, cursor_of, of_cursor
from ..served import ServedIndex
from . import reading
from .answers import answer
from .problems import Problem, bad_request
from .schemas import MatchInfo, QueryInfo, SearchAnswer, SearchRequest
from .service import Service

PAGE = 50  # matches, unless the client says how many


async def search(service: Service, request: Request) -> Response:
    """Find the images most like one of the index, a code or an uploaded image."""
    kind = reading.media_type(request)
    if kind == "multipart/form-data":
        async with service.uploads.reading(request) as (image, text):
            served, query = await _of_image(service, reading.parsed(text, SearchRequest), image)
    elif kind == "application/json":
        wanted = await reading.document(request, SearchRequest)
        served, query = await _of_document(service, wanted)
    else:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be of type application/json or multipart/form-data"
        )
    if query.where is not None and served.snapshot.is_local:
        await service.work(served.snapshot.mask, query.where)  # may take long; the scan finds it in the cache
    page = await service.result(service.engine.search(query, served.name))
    return answer(_described(served, page))


async def _of_image(service: Service, wanted: SearchRequest, image: bytes) -> tuple[ServedIndex, Query]:
    if any(value is not None for value in (wanted.id, wanted.path, wanted.code, wanted.cursor)):
        raise bad_request("an uploaded image is the query: leave out id, path, code and cursor")
    served, query = service.engine.index(wanted.index), _base(wanted)
    encoded = await service.result(service.engine.encode(image, served.name, outputs=wanted.rerank is not None))
    candidates = rerank.candidates(query.k) if wanted.rerank else 0
    return served, replace(query, packed=encoded.packed, outputs=encoded.outputs, candidates=candidates)


async def _of_document(service: Service, wanted: SearchRequest) -> tuple[ServedIndex, Query]:
    """Return the index and the query of a JSON body. Raises Problem unless it names exactly one query."""
    given = [name for name in ("id", "path", "code", "cursor") if getattr(wanted, name) is not None]
    if len(given) != 1:
        raise bad_request("name one query: id, path, code or cursor; or upload an image as multipart/form-data")
    if wanted.cursor is not None:
        if wanted != SearchRequest(cursor=wanted.cursor, k=wanted.k):
            raise bad_request("a cursor holds the whole search: pass no other field, except k")
        name, query = of_cursor(wanted.cursor, wanted.k)
        return service.engine.index(name), query
    if wanted.rerank:
        raise bad_request("rerank needs an uploaded image")
    served = service.engine.index(wanted.index)
    base = _base(wanted)
    snapshot = served.snapshot
    if wanted.code is not None:
        packed = code_of(wanted.code, snapshot.model.bits)
        return served, replace(base, packed=packed)
    id = wanted.id
    if id is None:
        assert wanted.path is not None
        id = await service.work(snapshot.id_of, wanted.path)
    return served, replace(base, id=id)


def _base(wanted: SearchRequest) -> Query:
    """Return what all kinds of queries share."""
    if wanted.radius is not None and wanted.rerank:
        raise bad_request("a radius and re-ranking cannot be combined: re-ranking reorders the nearest codes")
    if wanted.radius is not None and not 0 <= wanted.radius <= MAX_RADIUS:
        raise bad_request(f"radius={wanted.radius}: must be from 0 to {MAX_RADIUS}")
    where = Filter(wanted.globs, wanted.labels) if wanted.globs or wanted.labels else None
    return Query(k=checked_k(PAGE if wanted.k is None else wanted.k), radius=wanted.radius, where=where)


def _described(served: ServedIndex, page: Page) -> SearchAnswer:
    query = page.query
    assert query.packed is not None
    return SearchAnswer(
        served.name,
        len(query.packed) * 8,
        page.generation,
        QueryInfo(query.id, page.path, np.ascontiguousarray(query.packed).tobytes().hex()),
        [MatchInfo(match.id, match.path, match.labels, match.distance, match.score) for match in page.matches],
        None if page.following is None else cursor_of(served.name, page.following),
    )
