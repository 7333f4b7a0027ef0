"""Real answers, for the OpenAPI document: of a service over 40 emoji pictures, as in docs/http-api.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

_INDEX = {
    "generation": "0001-16b61a96",
    "model": "16b61a96d656f18c0b727dd9abc3e71b07459578677c09bfeeb8ada2c2091c9f",
    "size": 40,
}
ITEM: dict[str, Any] = {
    "id": 17,
    "key": "1f34e",
    "label": "red apple",
    "metadata": {"emoji": "🍎"},
    "version": 1,
    "image_url": "/v1/items/17/image",
    "thumbnail_url": "/v1/items/17/thumbnail",
}
SEARCH: dict[str, Any] = {
    "results": [
        {
            "id": 17,
            "key": "1f34e",
            "label": "red apple",
            "score": 1.0,
            "probability": None,
            "metadata": {"emoji": "🍎"},
            "image_url": "/v1/items/17/image",
        }
    ],
    "index": _INDEX,
    "next_cursor": "AQEAAAAAAAAAEQAAAAAAAAABAAAAAACAP8cRCGdS7e2K",
    "took_ms": 20.562,
}
_PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "the picture is truncated or corrupt (found image file is truncated)",
}
BATCH: dict[str, Any] = {
    "answers": [
        {"status": 200, "answer": SEARCH, "problem": None},
        {"status": 422, "answer": None, "problem": _PROBLEM},
    ],
    "took_ms": 41.3,
}
CLASSIFY: dict[str, Any] = {
    "label": "red apple",
    "none_of_these": None,
    "classes": [
        {"label": "red apple", "votes": 1, "share": 0.7928813464766735, "probability": None, "score": 1.0, "item": 17},
        {
            "label": "green apple",
            "votes": 1,
            "share": 0.20711865352332648,
            "probability": None,
            "score": 0.9060332775115967,
            "item": 18,
        },
    ],
    "index": _INDEX,
    "took_ms": 20.1,
}
ITEMS: dict[str, Any] = {"items": [ITEM], "next_cursor": "AhEAAAAAAAAA"}
INDEX: dict[str, Any] = {**_INDEX, "recall": 1.0, "building": None, "attribution": None}
COMPACTION: dict[str, Any] = {"pictures": 40, "recall": 1.0, "freed": 20480, "cleared": []}
ADDED = (
    '{"number":1,"key":"1f34e","status":201,"id":17,"version":1,"problem":null}\n'
    '{"number":2,"key":"1f34f","status":415,"id":null,"version":null,"problem":{"type":"about:blank",'
    '"title":"Unsupported Media Type","status":415,"detail":"not a picture that can be read"}}\n'
)


def show(status: int, example: dict[str, Any], text: str = "The answer.") -> dict[int | str, dict[str, Any]]:
    """The `responses` entry of a route whose answer is JSON."""
    return {status: {"description": text, "content": {"application/json": {"example": example}}}}


def fill_in(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Show the examples whole in the app's OpenAPI document: FastAPI leaves out what is null in them."""
    draw = app.openapi
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    def openapi() -> dict[str, Any]:
        document = draw()
        for route in routes:
            for method in route.methods or () if route.include_in_schema else ():
                operation = document["paths"].get(route.path_format, {}).get(method.lower())
                if operation:
                    _fill_route(operation, route)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _fill_route(operation: dict[str, Any], route: APIRoute) -> None:
    for status, response in route.responses.items():
        for kind, content in response.get("content", {}).items():
            if "example" in content:
                operation["responses"][str(status)]["content"][kind]["example"] = content["example"]
