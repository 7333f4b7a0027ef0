"""Who gets a place: the bounded number of requests that are under way, counted from before their body is read.

A raw ASGI layer, so that a refusal costs next to nothing: neither the router nor the form's parser sees the request.
Places are held until the answer is sent, and free at once when the client goes away, whose work is then cancelled.
What may change here: which requests need a place. Not: that no body is read without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import BusyError, answer_error

_READS = ("/v1/search", "/v1/classify", "/v1/explain")  # and what is below them
_BODILESS = ("GET", "HEAD", "OPTIONS")


class Gate:
    """A bounded number of places of one kind; used on the event loop alone."""

    def __init__(self, what: str, places: int) -> None:
        self.what = what
        self.places = places
        self.taken = 0
        self.refused = 0  # in all
        busy = BusyError(f"too many {what} at once", expected=f"at most {places}", remedy="try again in a second")
        self.refusal = answer_error(busy)  # made once: under overload it is what is answered most

    def enter(self) -> bool:
        """Take a place; False when all are taken."""
        if self.taken >= self.places:
            self.refused += 1
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """Give the place back."""
        self.taken -= 1


class Gates:
    """Searches and writes have places of their own, so that neither can starve the other."""

    def __init__(self, searches: int, writes: int) -> None:
        self.searches = Gate("searches", searches)
        self.writes = Gate("writes", writes)

    def find(self, method: str, path: str) -> Gate | None:
        """The gate that a request goes through; None for one that needs no place: health, pictures, the page."""
        if method in _BODILESS or not path.startswith("/v1/"):
            return None
        return self.searches if path.startswith(_READS) else self.writes


class Admission:
    """ASGI middleware: a place or a 429, and an end to the work of clients that have gone."""

    def __init__(self, app: ASGIApp, find_gates: Callable[[Scope], Gates]) -> None:
        self._app = app
        self._find_gates = find_gates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate = self._find_gates(scope).find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if gate is None:
            await self._app(scope, receive, send)
            return
        if not gate.enter():
            await gate.refusal(scope, receive, send)
            return
        try:
            await self._serve(scope, receive, send)
        finally:
            gate.leave()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _Client(receive)
        try:
            await self._app(scope, client.receive, client.watch_answer(send))
        except asyncio.CancelledError:
            if not client.gone:
                raise  # the service is stopping
            client.task.uncancel()  # nobody is there to be answered
        finally:
            client.close()


class _Client:
    """Watches for the end of the connection once the body is in; only then would a message mean that."""

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.gone = False
        self._answered = False
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        if self._watcher is not None:  # somebody else asks for the end too
            await asyncio.shield(self._watcher)
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watcher = asyncio.create_task(self._watch())
        return message

    def watch_answer(self, send: Send) -> Send:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._answered = True
            await send(message)

        return send_on

    async def _watch(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._answered:  # the server says so after an answer, too
            self.gone = True
            self.task.cancel()

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
