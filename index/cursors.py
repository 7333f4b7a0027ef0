"""Where the next page of a search or a list begins, as a short text that only this program reads.

A cursor names the last result by (score, item id), and not a number of results to skip: while others write, no result
comes twice and none that stays is passed over. It is good for the same question to the same generation only.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Any

from index.errors import CursorError, CursorExpiredError

_SEARCH = struct.Struct("<BqqIf8s")  # kind, generation, item, seen, score, digest
_LIST = struct.Struct("<Bq")  # kind, item
_SEARCH_KIND, _LIST_KIND = 1, 2


@dataclass(frozen=True)
class Cursor:
    """The last result of a page, and what it was an answer to."""

    generation: int  # its id in the catalogue
    item: int
    score: float  # as float32
    seen: int  # results on this page and those before it
    question: bytes  # 8 bytes of the question's digest

    def encode(self) -> str:
        """The text."""
        fields = (self.generation, self.item, self.seen, self.score, self.question)
        return _to_text(_SEARCH.pack(_SEARCH_KIND, *fields))

    def check(self, generation: int, question: bytes) -> None:
        """Raises CursorExpiredError or CursorError unless it belongs to this question and generation."""
        if self.generation != generation:
            raise CursorExpiredError(
                "another generation answers now, whose scores are others", remedy="search again without the cursor"
            )
        if self.question != question:
            raise CursorError(
                "the cursor is another search's",
                expected="the same pictures, items, strategy and bounds as on the page before",
            )


def decode_cursor(text: str) -> Cursor:
    """The cursor of a search. Raises CursorError."""
    fields = _from_text(text, _SEARCH, _SEARCH_KIND)
    generation, item, seen, score, question = fields
    if not -1.0 <= score <= 1.0 or item < 1 or seen < 1:  # so put, NaN is refused too
        raise _not_ours(text)
    return Cursor(generation, item, score, seen, question)


def encode_place(item: int) -> str:
    """The cursor of a list: items with an id above this come next."""
    return _to_text(_LIST.pack(_LIST_KIND, item))


def decode_place(text: str) -> int:
    """The item id in a list's cursor. Raises CursorError."""
    item: int = _from_text(text, _LIST, _LIST_KIND)[0]
    if item < 1:
        raise _not_ours(text)
    return item


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _from_text(text: str, form: struct.Struct, kind: int) -> tuple[Any, ...]:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found, *fields = form.unpack(data)
    except (binascii.Error, ValueError, struct.error) as error:
        raise _not_ours(text) from error
    if found != kind or _to_text(data) != text:
        raise _not_ours(text)
    return tuple(fields)


def _not_ours(text: str) -> CursorError:
    return CursorError("not a cursor", expected="`next_cursor` of an answer", found=repr(text[:60]))
