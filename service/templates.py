"""A path -> the template of the route that it leads to, for requests that are refused before a router sees them.

What may change here: how templates are found. Not: that each comes from our own routes, never from what a client wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.routing import BaseRoute, Route

STATIC = "/static"
UNKNOWN = "-"


class Templates:
    """The templates of an application's routes."""

    def __init__(self, routes: Iterable[BaseRoute] = ()) -> None:
        found = {route.path: route.path_regex for route in routes if isinstance(route, Route)}
        self._plain = frozenset(path for path in found if "{" not in path)
        self._patterns: list[tuple[re.Pattern[str], str]] = [
            (pattern, path) for path, pattern in found.items() if "{" in path
        ]

    def find(self, path: str) -> str:
        """Such as `/v1/items/{id}` for `/v1/items/7`; `-` where no route is."""
        if path in self._plain:
            return path
        if path.startswith(f"{STATIC}/"):
            return STATIC
        return next((template for pattern, template in self._patterns if pattern.match(path)), UNKNOWN)
