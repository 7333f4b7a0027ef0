"""Large answers that may be in memory at once: pictures and lists, which need no place of `service.admission`.

Who finds no turn waits for one, since a page asks for many pictures at once and none may be missing on it.
What may change here: how long one waits. Not: that a turn lasts until the client has read the answer, or has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.problems import DeadlineError


class Turns:
    """A bounded number of answers of one kind; used on the event loop alone."""

    def __init__(self, what: str, most: int, seconds: float) -> None:
        """`seconds`: that one may wait."""
        self._what, self._most, self._seconds = what, most, seconds
        self._free = asyncio.Semaphore(most)

    async def answer(self, make: Callable[[], Awaitable[Response]]) -> Response:
        """The answer that `make` gives, which is not begun before there is a turn for it. Raises DeadlineError."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError as error:
            expected = f"one of {self._most} to be read within {self._seconds:g} s"
            raise DeadlineError(f"too many {self._what} are on their way", expected=expected) from error
        try:
            return _HeldAnswer(await make(), self._free)
        except BaseException:
            self._free.release()
            raise


class _HeldAnswer(Response):
    """An answer whose turn ends once its client has read it, or has gone."""

    def __init__(self, answer: Response, turn: asyncio.Semaphore) -> None:
        super().__init__()
        self._answer, self._turn = answer, turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer that was given."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._turn.release()
