"""Answers as JSON by pydantic's encoder: a search's has a hundred values, and the standard library takes its time.

What may change here: the encoder. Not: that each float keeps all its digits, and characters are written as UTF-8.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.responses import JSONResponse


class JsonAnswer(JSONResponse):
    """A JSON response."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return to_json(content)
