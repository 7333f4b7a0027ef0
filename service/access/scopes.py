"""What a key may do, and which scope each address asks for.

What may change here: a row for a new route. Not: that an address which no row names asks for the most.
"""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do; each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Whether a key of this scope may do what asks for the other."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


_SHELL = ("/", "/favicon.ico", "/healthz", "/readyz")  # a stranger learns nothing of the index from these
_QUESTIONS = (
    "/v1/search",
    "/v1/classify",
    "/v1/explain",
)  # posted, since a picture goes with them; they change nothing
_SAFE = ("GET", "HEAD", "OPTIONS")


def is_shell(method: str, path: str) -> bool:
    """Whether an address is open to everybody: the page without its data, and whether the service lives."""
    return method in _SAFE and (path in _SHELL or path.startswith("/static/"))


def is_safe(method: str) -> bool:
    """Whether a method changes nothing and costs little, as RFC 9110 has it."""
    return method in _SAFE


def needed_scope(method: str, path: str) -> Scope:
    """The least scope that an address asks for."""
    if method in _SAFE or _is_below(path, _QUESTIONS):
        return Scope.READ
    return Scope.WRITE if _is_below(path, ("/v1/items",)) else Scope.ADMIN


def _is_below(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)
