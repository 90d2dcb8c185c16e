"""The interface as an OpenAPI document, made from the table of routes."""

import re
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from .problems import MEDIA_TYPE
from .routes import ROUTES, Route
from .schemas import ProblemDocument

_COMPONENTS = "#/components/schemas/{name}"
_ID = {"type": "integer", "minimum": 0}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all routes."""
    bodies = [body for route in ROUTES for body in (*route.answers.values(), route.body)]
    structs = {kind for body in bodies for kind in _kinds(body)}
    structs.add(ProblemDocument)
    kinds = sorted(structs, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_COMPONENTS)
    named = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TransHash",
            "version": version("transhash"),
            "description": "Search, browse and review the images of an index.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "transhash"},
            },
        },
        "security": [{"token": []}, {"session": []}, {}],
    }


def _operation(route: Route, named: dict[type, Any]) -> dict[str, Any]:
    responses = {str(status): _response(status, kind, named) for status, kind in route.answers.items()}
    problem = {"description": "A problem.", "content": {MEDIA_TYPE: {"schema": named[ProblemDocument]}}}
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": [*_path_parameters(route.path), *_query_parameters(route)],
        "responses": {**responses, "default": problem},
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _contents(route, named[route.body])}
    if route.is_open:
        operation["security"] = []
    return operation


def _kinds(answer: type | tuple[type, ...] | str | None) -> tuple[type, ...]:
    """Return the structs that an answer can be."""
    return answer if isinstance(answer, tuple) else (answer,) if isinstance(answer, type) else ()


def _response(status: int, kind: type | tuple[type, ...] | str | None, named: dict[type, Any]) -> dict[str, Any]:
    description: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if structs := _kinds(kind):
        schema = named[structs[0]] if len(structs) == 1 else {"anyOf": [named[struct] for struct in structs]}
        description["content"] = {"application/json": {"schema": schema}}
    elif isinstance(kind, str):
        description["content"] = {kind: {}}
    return description


def _contents(route: Route, schema: dict[str, Any]) -> dict[str, Any]:
    contents: dict[str, Any] = {"application/json": {"schema": schema}}
    if route.upload:
        contents["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "string", "format": "binary"}, "query": schema},
            },
            "encoding": {"query": {"contentType": "application/json"}},
        }
    return contents


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _ID if name == "id" else {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": "query", "description": one.description, "schema": one.schema}
        for one in route.parameters
    ]
