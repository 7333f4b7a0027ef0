"""Settings -> the FastAPI application. Nothing happens at import; the lifespan loads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from index.layout import Layout
from service import examples
from service.access.description import describe_access
from service.access.guard import Guard
from service.access.headers import SecurityHeaders
from service.access.keys import KeyRing
from service.admission import Admission
from service.engine import Engine
from service.metrics import Metrics
from service.observation import Observation
from service.pacing import Paced
from service.problems import install_problems
from service.routes import classify, items, page, pictures, search, status
from service.routes import metrics as figures
from service.settings import Settings

_DESCRIPTION = "Image similarity search. Every error is an RFC 9457 problem document."


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """The application over one index.

    `engine`: one that is open already and stays the caller's to close, so that a command can say in one line why it
    could not be opened; without it, the lifespan opens and closes one.
    """

    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            app.state.engine = engine or stack.enter_context(Engine(settings))
            app.state.engine.observe = metrics.observe
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
    app.state.metrics = metrics
    install_problems(app)
    # Layers that are added later lie around it: a request is checked by all of them before it takes a place.
    app.add_middleware(Admission, find_gates=lambda scope: scope["app"].state.engine.gates)
    modules = (search, classify, items, pictures, status, figures, page)
    for module in modules:
        app.include_router(module.router)
    page.mount_static(app)
    examples.fill_in(app, [module.router for module in modules])
    describe_access(app)
    _surround(app, settings, [*app.routes, *(route for module in modules for route in module.router.routes)])
    return app


def _surround(app: FastAPI, settings: Settings, routes: Sequence[BaseRoute]) -> None:
    """What every request goes through before a route, and every answer after it; the last one added is outermost."""
    access = settings.access
    keys = KeyRing(Layout(settings.index)) if access.keys else None
    app.add_middleware(Guard, access=access, keys=keys)
    if access.origins:  # around the guard: a preflight carries no key, and a site may read why it was refused
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "If-Match", "If-None-Match", "X-Request-Id"],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-Id"],
        )
    app.add_middleware(SecurityHeaders, shared=bool(access.origins))
    app.add_middleware(Observation, metrics=app.state.metrics, routes=routes)
    app.add_middleware(Paced)
