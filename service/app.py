"""Settings -> the FastAPI application. Nothing happens at import; the lifespan loads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from service.admission import Admission
from service.engine import Engine
from service.problems import install_problems
from service.routes import items, page, search, status
from service.settings import Settings

_DESCRIPTION = "Image similarity search. Every error is an RFC 9457 problem document."


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """The application over one index.

    `engine`: one that is open already and stays the caller's to close, so that a command can say in one line why it
    could not be opened; without it, the lifespan opens and closes one.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if engine is not None:
            app.state.engine = engine
            yield
            return
        with Engine(settings) as opened:
            app.state.engine = opened
            yield

    app = FastAPI(
        title="Crossmatch",
        description=_DESCRIPTION,
        version=version("crossmatch"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat whatever host the client named
    )
    install_problems(app)
    # Layers that are added later lie around it: a request is checked by all of them before it takes a place.
    app.add_middleware(Admission, find_gates=lambda scope: scope["app"].state.engine.gates)
    for module in (search, items, status, page):
        app.include_router(module.router)
    page.mount_static(app)
    return app
