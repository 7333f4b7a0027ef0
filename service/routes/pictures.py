"""`/v1/items/{id}/image` and `/thumbnail`: the pictures of items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from service.problems import describe_problems
from service.routes import EngineDependency
from service.routes.parameters import ItemId

router = APIRouter(prefix="/v1", tags=["items"])

_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}, "description": "The picture."},
    304: {"description": "Not modified."},
}


@router.get(
    "/items/{id}/image",
    response_class=Response,
    responses={**_PICTURE, **describe_problems(404, 410, 422, 503)},
    summary="The picture an item was indexed from",
)
async def read_item_image(id: ItemId, request: Request, engine: EngineDependency) -> Response:  # noqa: A002
    """The pixels that were indexed, without EXIF, GPS, XMP or comments; 410 if they are no longer there."""
    release = await engine.hold_picture()
    try:
        return _HeldAnswer(await _answer_picture(id, request, engine, thumbnail=False), release)
    except BaseException:
        release()
        raise


@router.get(
    "/items/{id}/thumbnail",
    response_class=Response,
    responses={**_PICTURE, **describe_problems(404, 410, 422, 503)},
    summary="An item's picture at 256 pixels",
)
async def read_item_thumbnail(id: ItemId, request: Request, engine: EngineDependency) -> Response:  # noqa: A002
    """A JPEG, upright, on white, at most 256 pixels on the longer side."""
    return await _answer_picture(id, request, engine, thumbnail=True)


class _HeldAnswer(Response):
    """An answer whose place is free once its client has read it, or has gone."""

    def __init__(self, answer: Response, release: Callable[[], None]) -> None:
        super().__init__()
        self._answer, self._release = answer, release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer that was given."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._release()


async def _answer_picture(id_: int, request: Request, engine: EngineDependency, *, thumbnail: bool) -> Response:
    picture, content_hash = await engine.read_picture(id_, thumbnail=thumbnail)
    tag = f'"{content_hash[:32]}-{"t" if thumbnail else "p"}"'
    # An item's picture may be replaced, so a browser asks again, and is told 304 while it has not been.
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    known = request.headers.get("if-none-match", "")
    if tag in [each.strip().removeprefix("W/") for each in known.split(",")]:  # a proxy that compresses makes it weak
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type=picture.media_type, headers=headers)
