"""The application by itself: nothing happens before its lifespan, and what its settings decide."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from index.encoder import Encoder
from index.errors import IndexDataError, ModelMismatchError, VectorError
from index.images import ImageLimits
from service import routes
from service.app import create_app
from service.settings import Settings
from tests.drawn_pictures import draw_picture
from tests.service.live_service import expect_problem


async def ask(app: FastAPI, method: str, path: str, **request: object) -> httpx.Response:
    """One request inside the app's own lifespan."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        return await client.request(method, path, **request)  # type: ignore[arg-type]


def ask_now(settings: Settings, method: str, path: str, **request: object) -> httpx.Response:
    return asyncio.run(ask(create_app(settings), method, path, **request))


def test_nothing_is_opened_before_the_lifespan(tmp_path: Path) -> None:
    app = create_app(Settings(tmp_path / "no such index"))
    with pytest.raises(IndexDataError, match="not an index"):
        asyncio.run(ask(app, "GET", "/healthz"))


def test_the_lifespan_opens_and_closes_an_engine_of_its_own(drawn_index: Path) -> None:
    app = create_app(Settings(drawn_index, threads=1))
    for _ in range(2):
        response = asyncio.run(ask(app, "POST", "/v1/search?k=1", files={"image": draw_picture("red")}))
        assert response.json()["results"][0]["label"] == "red"


def test_the_attribution_is_told(drawn_index: Path) -> None:
    response = ask_now(Settings(drawn_index, threads=1, attribution="drawn by hand"), "GET", "/v1/index")
    assert response.json()["attribution"] == "drawn by hand"


def test_the_limits_of_a_picture_are_the_settings(drawn_index: Path) -> None:
    picture = {"image": draw_picture("red")}
    few_pixels = Settings(drawn_index, threads=1, limits=ImageLimits(max_pixels=1000))
    expect_problem(ask_now(few_pixels, "POST", "/v1/search", files=picture), 413, "at most 1000", "56x60")
    few_bytes = Settings(drawn_index, threads=1, limits=ImageLimits(max_bytes=500))
    expect_problem(ask_now(few_bytes, "POST", "/v1/search", files=picture), 413, "bytes", "at most 500")


def test_a_body_that_never_ends_gives_its_place_back(drawn_index: Path) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        await asyncio.sleep(5)

    settings = Settings(drawn_index, threads=1, waiting=1, upload_seconds=0.2)
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = ask_now(settings, "POST", "/v1/search", content=trickle(), headers=headers)
    expect_problem(response, 408, "too long", "0.2 s")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (VectorError("the vector has no length", where="/secret/model.onnx"), 422, "the vector has no length"),
        (ModelMismatchError("another model", where="/secret"), 503, "log says why"),
        (sqlite3.DatabaseError("/secret is malformed"), 503, "log says why"),
        (OSError(5, "input/output error", "/secret"), 503, "log says why"),
        (RuntimeError("/secret"), 500, "unexpected"),
    ],
)
def test_what_goes_wrong_inside_is_told_without_paths(
    drawn_index: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, words: str
) -> None:
    app = create_app(Settings(drawn_index, threads=1))

    async def fail() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with app.router.lifespan_context(app):

            def raise_it(*_: object) -> None:
                raise error

            monkeypatch.setattr(Encoder, "encode_bytes", raise_it)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.post("/v1/search", files={"image": draw_picture("red")})

    response = asyncio.run(fail())
    expect_problem(response, status, words)
    assert "secret" not in response.text


def test_no_request_takes_a_detour_through_fastapis_thread_pool() -> None:
    """A dependency or a route that is not `async` costs a hop to another thread: more than the rest of the request."""
    modules = [import_module(f"service.routes.{module.name}") for module in iter_modules(routes.__path__)]
    routers = [module.router for module in modules if hasattr(module, "router")]
    waiting = [route.dependant for router in routers for route in router.routes if isinstance(route, APIRoute)]
    seen: list[str] = []
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        assert inspect.iscoroutinefunction(dependant.call), dependant.call
        seen.append(getattr(dependant.call, "__name__", ""))
    assert {"search", "get_engine"} <= set(seen)
