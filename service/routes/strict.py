"""A route that refuses the query parameters it does not have, so that a misspelt one is not passed over in silence.

What may change here: wording. Not: that a request without a query pays nothing, and that names are gathered once.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import Response
from fastapi.routing import APIRoute

from service.misspelling import refuse_unknown


class StrictRoute(APIRoute):
    """Answers 422 to a query parameter that it does not know."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, behind the check."""
        handle = super().get_route_handler()
        if not self.path.startswith("/v1/"):  # a probe may say what it likes
            return handle
        known = frozenset(_list_parameters(self.dependant))

        async def check_and_handle(request: Request) -> Response:
            if request.scope["query_string"]:
                for name in request.query_params:
                    if name not in known:
                        raise refuse_unknown("query parameter", name, known)
            return await handle(request)

        return check_and_handle


def _list_parameters(dependant: Dependant) -> Iterator[str]:
    """The names of a route's query parameters, those of what it depends on too."""
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from _list_parameters(each)
