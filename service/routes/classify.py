"""`POST /v1/classify`: a picture in, the labels of what looks like it out."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from index.classification import LEAST_PROBABILITY, classify
from index.queries import Bounds, Page
from service import examples
from service.answers import ClassifyAnswer
from service.problems import describe_problems
from service.questions import Question
from service.routes import EngineDependency
from service.routes.parameters import MAX_VIEWS, describe_files, describe_form
from service.routes.strict import StrictRoute
from service.uploads import FormRule, read_form

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)

_FORM = describe_form({"image": describe_files("Views of one thing.", MAX_VIEWS, 1)}, ["image"])


@router.post(
    "/classify",
    response_model=ClassifyAnswer,
    responses={**examples.show(200, examples.CLASSIFY), **describe_problems(408, 413, 415, 422, 429, 503)},
    openapi_extra=_FORM,
    summary="Say what a picture shows, by the labels of what looks like it",
)
async def classify_picture(
    request: Request,
    engine: EngineDependency,
    k: Annotated[int, Query(ge=1, le=100, description="How many neighbours vote.")] = 10,
    min_probability: Annotated[
        float, Query(ge=0, le=1, description="Below it, the answer is none of these; needs a calibration to matter.")
    ] = LEAST_PROBABILITY,
) -> JSONResponse:
    """Send the picture as the file `image` of a multipart form; several are views of one thing."""
    form = await read_form(request, FormRule({"image": MAX_VIEWS}), engine.settings)
    started = time.perf_counter()
    question = Question(tuple(form.pictures("image")), Page(k), Bounds())
    result = await engine.run(question.answer)
    verdict = classify(result.matches, min_probability)
    took_ms = round((time.perf_counter() - started) * 1000, 3)
    return JSONResponse(
        {
            "label": verdict.label,
            "none_of_these": verdict.none_of_these,
            "classes": [asdict(one) for one in verdict.classes],
            "index": result.to_json(took_ms)["index"],
            "took_ms": took_ms,
        }
    )
