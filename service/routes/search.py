"""`POST /v1/search`: a picture in, the nearest items out."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from index.queries import MAX_K
from index.searcher import search_views
from service.answers import SearchAnswer
from service.json_answer import JsonAnswer
from service.problems import describe_problems
from service.routes import EngineDependency
from service.uploads import FormRule, read_form

router = APIRouter(prefix="/v1", tags=["search"])

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "A JPEG, PNG, WebP, GIF (first frame), BMP, TIFF or AVIF file.",
                        }
                    },
                }
            }
        },
    }
}


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses=describe_problems(408, 413, 415, 422, 429, 503),
    openapi_extra=_FORM,
    summary="Find the items that look most like a picture",
)
async def search(
    request: Request,
    engine: EngineDependency,
    k: Annotated[int, Query(ge=1, le=MAX_K, description="How many items to return.")] = 10,
) -> JsonAnswer:
    """Send the picture as the file `image` of a multipart form."""
    form = await read_form(request, FormRule(), engine.settings)
    started = time.perf_counter()
    views = form.pictures("image")
    result = await engine.run(lambda encoder, searcher: search_views(searcher, encoder, views, k))
    return JsonAnswer(result.to_json((time.perf_counter() - started) * 1000))
