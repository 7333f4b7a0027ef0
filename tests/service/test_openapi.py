"""The OpenAPI document against the live service: whatever is asked, each answer is one that its route declares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from index.bundle import Bundle
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import build
from tests.service.live_service import serve

REQUESTS = 12  # a route
VALUES = [
    "",
    "0",
    "-1",
    "1",
    "7",
    "nan",
    "1e400",
    "x",
    "\0",
    "9" * 5000,
    "1.5",
    "true",
    "0,0,9,9",
    "best",
    "٣",
    '"1"',
    "*",
]
FILES = [draw_picture("red"), draw_picture("blue"), b"", b"hello", draw_picture("red")[:90], b"\0", b"{}", b'{"a": 1}']
BODIES = [
    b"",
    b"{}",
    b"[]",
    b'{"label": null}',
    b'{"key": ""}',
    b'{"label": "\\ud800"}',
    b'{"metadata": {"a": null}}',
    b"\xff",
]


@pytest.fixture(scope="module")
def client(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    place = tmp_path_factory.mktemp("openapi")
    build(write_drawn_pictures(place / "source"), tiny_bundle, place / "index")
    with serve(place / "index", place / "log") as service, httpx.Client(base_url=service.url, timeout=30) as opened:
        yield opened
    assert "Traceback" not in Path(place / "log").read_text()


def draw_request(random: np.random.Generator, operation: dict[str, Any], path: str) -> dict[str, Any]:
    """Arguments of `httpx.Client.request`: some that fit, most that do not."""

    def pick(values: list[Any]) -> Any:
        return values[random.integers(len(values))]

    query, headers, body = [], {}, operation.get("requestBody", {}).get("content", {})
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", pick(["1", "5", "24", "99", "0", "x", "9" * 30]))
        elif random.random() < 0.3:
            value = pick(VALUES)
            if parameter["in"] == "query":
                query.append((parameter["name"], value))
            elif value.isascii() and value.isprintable():
                headers[parameter["name"]] = value
    request: dict[str, Any] = {"url": path, "params": query, "headers": headers}
    if "multipart/form-data" in body:
        names = ["image", "image", "image", "negative_image", "key", "label", "metadata", "other"]
        kinds = [None, "f", "f", ""]
        request["files"] = [(pick(names), (pick(kinds), pick(FILES))) for _ in range(random.integers(1, 4))]
    elif body:
        request["content"] = pick(BODIES)
        headers["Content-Type"] = pick([*body, "text/plain"])
    return request


def test_every_answer_is_declared(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    random = np.random.default_rng(7)
    seen: set[int] = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for _ in range(REQUESTS):
                request = draw_request(random, operation, path)
                response = client.request(method.upper(), **request)
                where = (method, request, response.text[:300])
                assert str(response.status_code) in operation["responses"], where
                assert response.status_code < 500, where
                seen.add(response.status_code)
                if response.status_code >= 400:
                    assert response.headers["content-type"] == "application/problem+json", where
                    assert json.loads(response.content)["status"] == response.status_code
    assert {200, 404, 415, 422} <= seen
