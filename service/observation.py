"""Around every request: its id, its line in the log, its figures, and an answer even to a bug.

What may change here: what is noted. Not: that an exception from inside becomes a problem document, that labels come
from our own tables, and that neither query nor raw path is written down.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import FIELDS, REQUEST_ID
from service.metrics import REASONS, Metrics
from service.problems import make_problem
from service.templates import STATIC, UNKNOWN, Templates

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PATCH", "PUT", "DELETE")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """Of one request, for those who measure it."""

    started: float  # seconds of `time.perf_counter`
    worked: float | None = None  # when the heavy work was done
    status: int = 0  # of the answer; 0: none yet
    answered: float | None = None  # when its last byte was given away


PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)


def note_worked() -> None:
    """The heavy work of the request at hand is done; what follows is the answer."""
    progress = PROGRESS.get()
    if progress is not None:
        progress.worked = time.perf_counter()


class Observation:
    """ASGI middleware that notes what happens to requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Iterable[BaseRoute] = ()) -> None:
        """`routes`: the application's, to name those that a refused request asked for."""
        self._app, self._metrics, self._templates = app, metrics, Templates(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        progress = Progress(time.perf_counter())
        request_id = choose_id(Headers(scope=scope).get("x-request-id"))
        id_token, progress_token = REQUEST_ID.set(request_id), PROGRESS.set(progress)
        try:
            await self._answer(scope, receive, _watch(send, progress, request_id), progress)
        finally:
            self._note(scope, progress)
            PROGRESS.reset(progress_token)
            REQUEST_ID.reset(id_token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, progress: Progress) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:  # told to stop, the server gives what is under way so long and no longer
            _log.warning("a request is cut off: the service is stopping")
            if not progress.status:
                await make_problem(503, "the service is stopping", {"Retry-After": "1"})(scope, receive, send)
        except Exception as error:
            _log.error("unexpected %s", type(error).__name__, exc_info=error)
            if progress.status:  # too late for another answer: the server cuts the connection
                raise
            await make_problem(500, "unexpected error; the service's log has the details")(scope, receive, send)

    def _note(self, scope: Scope, progress: Progress) -> None:
        ended = progress.answered or time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route, status, seconds = find_route(scope), progress.status, ended - progress.started
        if status:
            self._metrics.count_request(method, route, status, seconds)
        if progress.worked is not None and progress.answered is not None:
            self._metrics.observe("answer", progress.answered - progress.worked)
        state = scope.get("state", {})
        reason = state.get("refused") or REASONS.get(status) if status >= 400 else None
        if reason:
            self._metrics.count_rejection(reason)
        key = getattr(state.get("caller"), "key", None)
        asked = self._templates.find(scope["path"]) if route == UNKNOWN else route
        fields = {
            "method": method,
            "route": asked,
            "status": status or None,  # null: the client went away first
            "ms": round(1000 * seconds, 3),
            "reason": reason,
            "key": key.id if key else None,
            "client": scope["client"][0] if scope.get("client") else None,
        }
        said = f"{status} {reason or ''}".strip() if status else "the client went away"
        _log.info("%s %s %s %.1f ms", method, asked, said, 1000 * seconds, extra={FIELDS: fields})


def _watch(send: Send, progress: Progress, request_id: str) -> Send:
    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            progress.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = request_id
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            progress.answered = time.perf_counter()

    return send_on


def choose_id(said: str | None) -> str:
    """The client's own id of a request, if it is one that may stand in a log and a header; else a new one."""
    return said if said is not None and _SANE_ID.fullmatch(said) else secrets.token_hex(8)


def find_route(scope: Scope) -> str:
    """The template of the route that took a request, such as `/v1/items/{id}`; `-` where none did.

    What is refused before counts for no route in the figures: it would make every route look quick under overload.
    """
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    return STATIC if scope.get("root_path", "").startswith(STATIC) else UNKNOWN
