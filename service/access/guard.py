"""In front of every route: the name it is called by, the site that sends it, the key, and how often.

What may change here: the order of the checks. Not: that what no check lets through reaches no route, and that the
body of what is refused is never read.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from index.errors import CrossmatchError
from service.access.keys import Key, KeyRing
from service.access.origins import is_trusted
from service.access.policy import Access
from service.access.rates import RateLimiter, name_address
from service.access.scopes import Scope as KeyScope
from service.access.scopes import is_safe, is_shell, needed_scope
from service.problems import (
    ForeignOriginError,
    MisdirectedError,
    ScopeError,
    TooFastError,
    UnknownCallerError,
    answer_error,
)

_REALM = 'realm="crossmatch"'


@dataclass(frozen=True)
class Caller:
    """Who asks, as `request.state.caller`."""

    key: Key | None  # None: a stranger, or a service that asks for no keys
    trusted: bool  # whether it may know more than a bare yes or no


class RefusalError(Exception):
    """A request that goes no further, with the headers of its answer."""

    def __init__(self, reason: str, error: CrossmatchError, headers: dict[str, str] | None = None) -> None:
        """`reason`: one of a few words, for the figures."""
        self.reason, self.error, self.headers = reason, error, headers
        super().__init__(str(error))


class Guard:
    """ASGI middleware that lets through what the policy allows."""

    def __init__(self, app: ASGIApp, access: Access, keys: KeyRing | None) -> None:
        """`keys`: those of the index; None where the policy asks for none."""
        self._app, self._access, self._keys = app, access, keys
        self._rates = RateLimiter(access.rate, access.burst) if access.rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._admit(scope, Headers(scope=scope))
        except RefusalError as refusal:
            scope["state"]["refused"] = refusal.reason
            await answer_error(refusal.error, refusal.headers)(scope, receive, send)
        except CrossmatchError as error:
            await answer_error(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> None:
        state = scope.setdefault("state", {})
        self._check_host(headers)
        method, path = scope["method"], scope["path"]
        if not is_safe(method):
            self._check_origin(headers)
        shell = is_shell(method, path)
        caller = self._recognise(headers, path, required=not shell)
        state["caller"] = caller  # before the checks that follow: the log says whom they refuse
        if caller.key is not None and not shell:
            _check_scope(caller.key, needed_scope(method, path))
        if not shell:
            self._check_rate(scope, caller)

    def _check_host(self, headers: Headers) -> None:
        named = headers.getlist("host")
        if len(named) == 1 and self._access.hosts.allows(named[0]):
            return
        found = ", ".join(named)[:100] or "no Host header"
        raise RefusalError(
            "host",
            MisdirectedError(
                "this service is not called that", found=found, remedy="start it with --allowed-host NAME if it is"
            ),
        )

    def _check_origin(self, headers: Headers) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if not is_trusted(origin, site, headers["host"], self._access.origins):
            raise RefusalError(
                "origin",
                ForeignOriginError(
                    "another web site had a browser send this",
                    found=(origin or site or "")[:100],
                    remedy="start the service with --cors-origin ORIGIN if it may",
                ),
            )

    def _recognise(self, headers: Headers, path: str, *, required: bool) -> Caller:
        if self._keys is None:
            return Caller(None, trusted=True)
        text = read_credentials(headers.get("authorization", ""))
        try:
            key = self._keys.find(text) if text else None
        except CrossmatchError:  # the keys can not be read
            if required:
                raise
            return Caller(None, trusted=False)  # whether the process lives is another question
        if key is None and required:
            error = ', error="invalid_token"' if text else ""
            challenge = f"Bearer {_REALM}{error}"
            if path == "/docs" and "text/html" in headers.get("accept", ""):
                challenge = f"Basic {_REALM}, {challenge}"  # so that a browser asks for the key by itself
            raise RefusalError(
                "key",
                UnknownCallerError(
                    "no key of this service" if text else "this asks for a key",
                    expected="the header `Authorization: Bearer KEY`",
                    remedy="`crossmatch key create` makes one",
                ),
                {"WWW-Authenticate": challenge},
            )
        return Caller(key, trusted=key is not None)

    def _check_rate(self, scope: Scope, caller: Caller) -> None:
        if self._rates is None:
            return
        address = scope["client"][0] if scope.get("client") else ""
        wait = self._rates.take(caller.key.id if caller.key else name_address(address))
        if wait:
            expected = f"{self._access.rate:g} a second, at most {self._access.burst} at once"
            error = TooFastError("too many requests", expected=expected, remedy=f"try again in {wait} s")
            raise RefusalError("rate", error, {"Retry-After": str(wait)})


def _check_scope(key: Key, needed: KeyScope) -> None:
    if not key.scope.includes(needed):
        raise RefusalError(
            "scope",
            ScopeError("the key may not do this", expected=f"a key of scope {needed}", found=f"scope {key.scope}"),
            {"WWW-Authenticate": f'Bearer {_REALM}, error="insufficient_scope", scope="{needed}"'},
        )


def read_credentials(header: str) -> str | None:
    """The key in an Authorization header: a bearer token, or the password of Basic, whatever the user's name is."""
    kind, _, value = header.strip().partition(" ")
    value = value.strip()
    if kind.lower() == "bearer":
        return value or None
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
    except (binascii.Error, ValueError):
        return None
