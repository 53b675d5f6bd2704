"""The OpenAPI document of a server, generated from its routes."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from embedry import __version__
from embedry_server.operations import ANSWERED, Operation
from embedry_server.schemas import OpenAIError, TeiError


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of the routes."""
    types = [each for operation in operations for each in (operation.request, operation.answer) if each is not None]
    types += [OpenAIError, TeiError]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = {str(each): schema for each, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "embedry",
            "version": __version__,
            "description": "Embeddings and rankings over HTTP, for clients of OpenAI, Cohere, Jina and text-embeddings-inference.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"key": []}, {"header": []}],
    }


def _described(operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    content = {operation.media_type: {"schema": schema_of.get(str(operation.answer), {"type": "string"})}}
    error = schema_of[str(TeiError if operation.is_tei else OpenAIError)]
    errors = dict(operation.errors)
    if not operation.is_open:
        errors[401] = "The request has no key, or a wrong one."
    described: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_"),
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {
            str(operation.status): {
                "description": "OK",
                "content": content,
                "headers": _headers(ANSWERED | dict(operation.headers)),
            },
            **{
                str(status): {
                    "description": text,
                    "content": {"application/json": {"schema": error}},
                    "headers": _headers(ANSWERED),
                }
                for status, text in sorted(errors.items())
            },
        },
    }
    names = re.findall(r"{(\w+)}", operation.path)
    if names:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if operation.request is not None:
        body = {"application/json": {"schema": schema_of[str(operation.request)]}}
        described["requestBody"] = {"required": True, "content": body}
    return described


def _headers(texts: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()}
