"""Errors -> RFC 9457 problem documents: the one table from exceptions to HTTP statuses.

What may change here: wording, and a row for a new error. No other module knows an HTTP status of an error.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from index import errors

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="a name for the kind of problem", examples=["about:blank"])
    title: str = Field(description="the same for every problem of the kind", examples=["Unprocessable Content"])
    status: int = Field(description="the HTTP status again", examples=[422])
    detail: str = Field(description="what is wrong this time, what was expected, and what to do")


class BodyTooLargeError(errors.ImageTooLargeError):
    """The request's body has too many bytes."""


class BadFormError(errors.UsageError):
    """The request's body is not the form that was asked for."""


class UnsupportedBodyError(errors.UsageError):
    """The request's body is of another media type."""


class SlowBodyError(errors.UsageError):
    """The request's body takes too long to come in."""


class BusyError(errors.CrossmatchError):
    """As many requests wait as may wait."""


class CompactingError(errors.UsageError):
    """A compaction is under way already."""


class DeadlineError(errors.CrossmatchError):
    """No thread was free before the request's deadline; nothing of its work was begun."""


class WorkerDiedError(errors.CrossmatchError):
    """The thread that had the request ended, or the service does."""


class NotReadyError(errors.CrossmatchError):
    """No search should be sent here now."""


class EncoderSickError(errors.CrossmatchError):
    """No encoder gives the vectors that it should."""


class UnknownCallerError(errors.UsageError):
    """No key, or none that is known."""


class ScopeError(errors.UsageError):
    """A key that may not do this."""


class ForeignOriginError(errors.UsageError):
    """Another web site had a browser send this."""


class MisdirectedError(errors.UsageError):
    """The request calls the service by a name that it does not have."""


class TooFastError(errors.UsageError):
    """One caller asks more often than it may."""


STATUSES: Mapping[type[errors.CrossmatchError], int] = {
    BusyError: 429,
    TooFastError: 429,
    UnknownCallerError: 401,
    ScopeError: 403,
    ForeignOriginError: 403,
    MisdirectedError: 421,
    SlowBodyError: 408,
    UnsupportedBodyError: 415,
    CompactingError: 409,
    errors.KeyTakenError: 409,
    errors.CursorExpiredError: 410,
    errors.ItemChangedError: 412,
    errors.IndexReadOnlyError: 403,
    errors.UnsupportedImageError: 415,
    errors.ImageTooLargeError: 413,
    errors.ImageError: 422,
    errors.VectorError: 422,
    errors.UsageError: 422,
    errors.ItemNotFoundError: 404,
    errors.OriginalMissingError: 410,
    errors.IndexFullError: 507,
    errors.IndexDataError: 503,
    errors.CrossmatchError: 503,
}


# What may be said to a stranger in spite of its status, and after how many seconds asking again may help.
RETRY_SECONDS: Mapping[type[errors.CrossmatchError], int] = {
    BusyError: 1,
    DeadlineError: 1,
    WorkerDiedError: 1,
    NotReadyError: 5,
    EncoderSickError: 5,
    errors.IndexBusyError: 1,
}
_WORDS: Mapping[
    type[errors.CrossmatchError], str
] = {  # for a stranger, where the error's own line tells of this machine
    errors.IndexReadOnlyError: "the index is read-only here; searches go on",
    errors.IndexBusyError: "another process is writing to the index; try again in a second",
    errors.IndexFullError: "the disk that holds the index is full; searches go on, and removing still works",
}
REASONS: Mapping[type[errors.CrossmatchError], str] = {  # for the figures, where the status says too little
    DeadlineError: "deadline",
    WorkerDiedError: "thread",
    EncoderSickError: "not_ready",
    NotReadyError: "not_ready",
}
_UNANSWERED = "the index can not answer now; the service's log says why"
_UNEXPECTED = "unexpected error; the service's log has the details"
_UNROUTED = {  # what the router itself refuses
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take this method; the header Allow names those it takes",
}


def status_of(error: errors.CrossmatchError) -> int:
    """The status of the nearest class in the table."""
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def make_document(status: int, detail: str) -> Problem:
    """A problem document."""
    return Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail)


def make_problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem document as a response."""
    return JSONResponse(make_document(status, detail).model_dump(), status, headers, media_type=MEDIA_TYPE)


def explain_error(error: Exception) -> Problem:
    """The problem document of an error, for one answer among several; the log has what a stranger may not read."""
    if isinstance(error, errors.CrossmatchError):
        return make_document(status_of(error), _tell(error))
    if isinstance(error, (OSError, sqlite3.Error)):
        _log.error("the index can not be read: %s", error)
        return make_document(503, _UNANSWERED)
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return make_document(500, _UNEXPECTED)


def _tell(error: errors.CrossmatchError) -> str:
    """What a stranger may read; the line of a failure of ours names paths, which are for the log alone."""
    ours = status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR and type(error) not in RETRY_SECONDS
    if ours or type(error) in _WORDS:
        _log.error("%s", error)
        return _WORDS.get(type(error), _UNANSWERED)
    return error.reason


def answer_error(error: errors.CrossmatchError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem document of one of our errors."""
    seconds = RETRY_SECONDS.get(type(error))
    retry = {} if seconds is None else {"Retry-After": str(seconds)}
    return make_problem(status_of(error), _tell(error), {**retry, **(headers or {})})


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route, for its OpenAPI."""
    # The schema itself and not `model`, which FastAPI would list as plain JSON too.
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install_problems(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""

    @app.exception_handler(errors.CrossmatchError)
    async def answer_ours(request: Request, error: errors.CrossmatchError) -> JSONResponse:
        if (reason := REASONS.get(type(error))) is not None:
            request.scope.setdefault("state", {})["refused"] = reason
        return answer_error(error)

    @app.exception_handler(sqlite3.Error)  # a damaged or full disk under a running service
    @app.exception_handler(OSError)
    async def answer_machine(_request: Request, error: Exception) -> JSONResponse:
        _log.error("the index can not be read: %s", error)
        return make_problem(503, _UNANSWERED)

    @app.exception_handler(RequestValidationError)
    async def answer_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return make_problem(422, f"{name}: {first['msg']} (found {str(first.get('input'))[:100]!r})")

    @app.exception_handler(HTTPException)
    async def answer_http(_request: Request, error: HTTPException) -> JSONResponse:
        detail = _UNROUTED.get(error.status_code, str(error.detail))
        return make_problem(error.status_code, detail, error.headers)

    @app.exception_handler(Exception)
    async def answer_bug(_request: Request, error: Exception) -> JSONResponse:
        _log.error("unexpected %s", type(error).__name__, exc_info=error)
        return make_problem(500, _UNEXPECTED)
