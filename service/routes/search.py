"""`POST /v1/search` and `/v1/search/batch`: pictures and items in, the nearest items out."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from index.crops import PATTERN, Crop, parse_crop
from index.errors import UsageError
from index.queries import Page
from service import examples
from service.answers import BatchAnswer, SearchAnswer
from service.engine import Engine
from service.json_answer import JsonAnswer
from service.misspelling import NO_TEXT
from service.parts import PartLimits, iterate_parts
from service.problems import BadFormError, describe_problems, explain_error
from service.questions import Question, answer_question
from service.routes import EngineDependency
from service.routes.parameters import (
    MAX_VIEWS,
    BoundsDependency,
    CursorText,
    K,
    QueryDependency,
    describe_files,
    describe_form,
)
from service.routes.strict import StrictRoute
from service.uploads import Form, FormRule, read_form

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)

MAX_QUERIES = 32  # of one batch
_AT_ONCE = 4  # queries of a batch that are in the queue: a batch must not shut others out
_FORM = describe_form(
    {
        "image": describe_files("Views of one thing that results should look like.", MAX_VIEWS),
        "negative_image": describe_files("Pictures that results should not look like.", MAX_VIEWS),
    },
    [],
    optional=True,
)
_BATCH = describe_form({"image": describe_files("Each file is a query of its own.", MAX_QUERIES, 1)}, ["image"])

CropText = Annotated[
    str | None,
    Query(
        description="Search by this part of the one `image`: x,y,w,h in pixels of the upright picture.",
        json_schema_extra={"pattern": PATTERN, "example": "0,0,100,100"},
    ),
]


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses={**examples.show(200, examples.SEARCH), **describe_problems(404, 408, 410, 413, 415, 422, 429, 503)},
    openapi_extra=_FORM,
    summary="Find the items that look most like pictures or other items",
)
async def search(
    request: Request,
    engine: EngineDependency,
    bounds: BoundsDependency,
    query: QueryDependency,
    k: K = 10,
    crop: CropText = None,
    cursor: CursorText = None,
) -> JsonAnswer:
    """Send the pictures as files `image` of a multipart form; with `positive_id`, a search needs no body."""
    part = parse_crop(crop) if crop is not None else None
    form = await _read_views(request, engine, by_items=bool(query.positive_ids))
    views, negatives = form.pictures("image"), form.pictures("negative_image")
    _check_crop(part, len(views))
    question = Question(tuple(views), Page(k, cursor), bounds, tuple(negatives), part, query)
    return JsonAnswer(await answer_question(engine, question))


async def _read_views(request: Request, engine: Engine, *, by_items: bool) -> Form:
    if by_items and "content-type" not in request.headers:
        return Form(())
    required = () if by_items else ("image",)
    rule = FormRule({"image": MAX_VIEWS, "negative_image": MAX_VIEWS}, required)
    return await read_form(request, rule, engine.settings)


def _check_crop(crop: Crop | None, views: int) -> None:
    if crop is not None and views != 1:
        raise UsageError("a crop is of one picture", expected="one file `image`", found=f"{views} files")


@router.post(
    "/search/batch",
    response_model=BatchAnswer,
    responses={**examples.show(200, examples.BATCH), **describe_problems(408, 413, 415, 422, 429, 503)},
    openapi_extra=_BATCH,
    summary="Several searches, each answered or refused by itself",
)
async def search_batch(request: Request, engine: EngineDependency, bounds: BoundsDependency, k: K = 10) -> JsonAnswer:
    """Each file `image` of the form is a query; the answers come in their order."""
    started = time.perf_counter()
    pictures = await _read_queries(request, engine)
    places = asyncio.Semaphore(_AT_ONCE)

    async def answer(data: bytes) -> dict[str, Any]:
        async with places:
            try:
                found = await answer_question(engine, Question((data,), Page(k), bounds))
            except Exception as error:
                problem = explain_error(error)
                return {"status": problem.status, "answer": None, "problem": problem.model_dump()}
        return {"status": 200, "answer": found, "problem": None}

    answers = await asyncio.gather(*(answer(data) for data in pictures))
    took_ms = round((time.perf_counter() - started) * 1000, 3)
    return JsonAnswer({"answers": answers, "took_ms": took_ms})


async def _read_queries(request: Request, engine: Engine) -> list[bytes]:
    """The files `image`, empty ones too: each is refused by itself."""
    settings = engine.settings
    limits = PartLimits(settings.limits.max_bytes, settings.upload_seconds, files=MAX_QUERIES)
    parts = [part async for part in iterate_parts(request, limits)]
    pictures = [part.data for part in parts if part.is_file and part.name == "image"]
    if not pictures or len(pictures) < len(parts):
        expected, found = f"1 to {MAX_QUERIES} of them", Form(tuple(parts)).describe()
        raise BadFormError("a batch is files `image` alone", expected=expected, found=found, remedy=NO_TEXT)
    return pictures
