"""`/v1/items/{id}/image` and `/thumbnail`: the pictures of items."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.problems import describe_problems
from service.routes import EngineDependency
from service.routes.parameters import ItemId
from service.routes.strict import StrictRoute

router = APIRouter(prefix="/v1", tags=["items"], route_class=StrictRoute)

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
    return await engine.pictures.answer(lambda: _answer_picture(id, request, engine, thumbnail=False))


@router.get(
    "/items/{id}/thumbnail",
    response_class=Response,
    responses={**_PICTURE, **describe_problems(404, 410, 422, 503)},
    summary="An item's picture at 256 pixels",
)
async def read_item_thumbnail(id: ItemId, request: Request, engine: EngineDependency) -> Response:  # noqa: A002
    """A JPEG, upright, on white, at most 256 pixels on the longer side."""
    return await _answer_picture(id, request, engine, thumbnail=True)


async def _answer_picture(id_: int, request: Request, engine: EngineDependency, *, thumbnail: bool) -> Response:
    picture, content_hash = await engine.read_picture(id_, thumbnail=thumbnail)
    tag = f'"{content_hash[:32]}-{"t" if thumbnail else "p"}"'
    # An item's picture may be replaced, so a browser asks again, and is told 304 while it has not been.
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    known = request.headers.get("if-none-match", "")
    if tag in [each.strip().removeprefix("W/") for each in known.split(",")]:  # a proxy that compresses makes it weak
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type=picture.media_type, headers=headers)
