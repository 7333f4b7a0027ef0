"""Cursors: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.cursors import Cursor, decode_cursor, decode_place, encode_place
from index.errors import CursorError, CursorExpiredError

IDS = st.integers(1, 2**63 - 1)
CURSORS = st.builds(
    Cursor, IDS, IDS, st.floats(-1, 1, width=32), st.integers(1, 10_000), st.binary(min_size=8, max_size=8)
)


@given(CURSORS)
def test_a_cursor_survives_the_text(cursor: Cursor) -> None:
    text = cursor.encode()
    assert decode_cursor(text) == cursor
    assert text.isascii()
    assert not set(text) & set("+/=&?")
    with pytest.raises(CursorError):
        decode_place(text)


@given(IDS)
def test_a_place_survives_the_text(item: int) -> None:
    assert decode_place(encode_place(item)) == item


@given(st.text())
def test_other_text_is_refused(text: str) -> None:
    for decode in (decode_cursor, decode_place):
        with pytest.raises(CursorError, match="not a cursor"):
            decode(text)


@pytest.mark.parametrize(
    "change", [lambda t: t + "=", lambda t: t + "A", lambda t: t[:-1], lambda t: " " + t, str.lower]
)
def test_a_changed_cursor_is_refused(change: object) -> None:
    text = Cursor(1, 2, 0.5, 10, b"question").encode()
    with pytest.raises(CursorError):
        decode_cursor(change(text))  # type: ignore[operator]


@pytest.mark.parametrize(
    "wrong",
    [Cursor(1, 2, float("nan"), 1, b"12345678"), Cursor(1, 0, 0.5, 1, b"12345678"), Cursor(1, 2, 2.0, 1, b"1" * 8)],
)
def test_impossible_fields_are_refused(wrong: Cursor) -> None:
    with pytest.raises(CursorError):
        decode_cursor(wrong.encode())


def test_it_belongs_to_a_question_and_a_generation() -> None:
    cursor = Cursor(3, 2, float(np.float32(0.1)), 10, b"question")
    cursor.check(3, b"question")
    with pytest.raises(CursorError, match="another search"):
        cursor.check(3, b"Question")
    with pytest.raises(CursorExpiredError, match="another generation"):
        cursor.check(4, b"question")
