"""Headers that every answer carries, whatever made it: what a browser must not do with it.

What may change here: a header that closes more. The page and `/docs` bring a policy of their own.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"  # JSON needs no more


class SecurityHeaders:
    """ASGI middleware that adds what an answer lacks."""

    def __init__(self, app: ASGIApp, *, shared: bool) -> None:
        """`shared`: whether other sites may show pictures of this one."""
        self._app = app
        self._headers = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": _NOTHING,
            "Cross-Origin-Resource-Policy": "cross-origin" if shared else "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and add to the start of an answer."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)
