"""An answer goes out no faster than its client reads it, so that what holds it is held back, too.

uvicorn takes a whole body at once and keeps what the client has not read; a route, and its place, would be done long
before. What may change here: the size of a piece. Not: that no more than a piece or two of an answer lies unread
outside the request that made it.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE_BYTES = 64 * 2**10  # what uvicorn takes before it waits for the client


class Paced:
    """ASGI middleware that sends long bodies piece by piece: each waits until there is room for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""

        async def send_on(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) <= PIECE_BYTES:
                await send(message)
                return
            view = memoryview(body)  # no copies
            for start in range(0, len(body), PIECE_BYTES):
                more = start + PIECE_BYTES < len(body) or message.get("more_body", False)
                await send({**message, "body": view[start : start + PIECE_BYTES], "more_body": more})

        await self._app(scope, receive, send_on)
