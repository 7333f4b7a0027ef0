"""The search page and the API's own documentation, with every script served from here."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_STATIC = Path(str(files("service").joinpath("static")))
_SWAGGER = Path(fastapi_offline.__file__).parent / "static"
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_DOCS_POLICY = (
    f"{_POLICY}; style-src 'self' 'unsafe-inline'"  # Swagger UI writes style attributes; its scripts are files
)


@router.get("/")
async def read_page() -> FileResponse:
    """The search page."""
    return _answer_file("index.html", _POLICY)


@router.get("/docs")
async def read_docs() -> FileResponse:
    """Swagger UI over `/openapi.json`."""
    return _answer_file("docs.html", _DOCS_POLICY)


def _answer_file(name: str, policy: str) -> FileResponse:
    return FileResponse(_STATIC / name, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


def mount_static(app: FastAPI) -> None:
    """Serve the page's files, and Swagger UI's."""
    app.mount("/static/swagger", StaticFiles(directory=_SWAGGER), name="swagger")
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
