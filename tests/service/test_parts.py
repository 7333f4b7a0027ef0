"""Parts of a body, one by one, whatever the network cuts it into, and within their limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from index.errors import CrossmatchError
from service.parts import Part, PartLimits, collect_parts, iterate_parts
from service.problems import BadFormError, BodyTooLargeError, SlowBodyError

LIMITS = PartLimits(file_bytes=1000, seconds=5, files=100, fields=100, body_bytes=2**20)
BULK = PartLimits(file_bytes=1000, seconds=0.2, bulk=True)


def make_body(parts: Sequence[Part]) -> bytes:
    body = b""
    for part in parts:
        file = f'; filename="{part.filename}"' if part.filename is not None else ""
        kind = f"Content-Type: {part.content_type}\r\n" if part.content_type else ""
        head = f'--b\r\nContent-Disposition: form-data; name="{part.name}"{file}\r\n{kind}\r\n'
        body += head.encode() + part.data + b"\r\n"
    return body + b"--b--\r\n"


def make_request(chunks: AsyncIterator[bytes]) -> Request:
    async def receive() -> Message:
        async for chunk in chunks:
            return {"type": "http.request", "body": chunk, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def cut(body: bytes, size: int, seconds: float = 0) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        await asyncio.sleep(seconds)
        yield body[start : start + size]


def read(body: bytes, limits: PartLimits = LIMITS, size: int = 2**16, seconds: float = 0) -> list[Part]:
    async def collect() -> list[Part]:
        request = make_request(cut(body, size, seconds))
        return (
            [part async for part in iterate_parts(request, limits)]
            if limits.bulk
            else await collect_parts(request, limits)
        )

    return asyncio.run(collect())


names = st.text("abcxyz0-9_é猫", min_size=1, max_size=8)
any_part = st.builds(
    Part, names, st.none() | names, st.none() | st.sampled_from(["image/png", "text/plain"]), st.binary(max_size=200)
)


@given(parts=st.lists(any_part, max_size=5), size=st.integers(1, 100))
def test_any_parts_come_through_whatever_the_chunks(parts: list[Part], size: int) -> None:
    parts = [part for part in parts if b"\r\n--b" not in b"\r\n" + part.data]
    assert read(make_body(parts), size=size) == parts


def test_a_part_is_given_before_the_next_is_read() -> None:
    """And none is read ahead: whoever deals with parts slowly slows the client down."""
    sent = 0

    async def send() -> AsyncIterator[bytes]:
        nonlocal sent
        for number in range(5):
            sent += 1
            yield b'--b\r\nContent-Disposition: form-data; name="n"; filename="f"\r\n\r\n%d\r\n' % number
        yield b"--b--\r\n"

    async def check() -> None:
        seen = 0
        async for part in iterate_parts(make_request(send()), BULK):
            assert part.data == b"%d" % seen
            assert sent <= seen + 2  # the part before is whole once the boundary after it is there
            seen += 1
        assert seen == 5

    asyncio.run(check())


def test_a_bulk_body_may_be_longer_than_any_limit_of_a_part() -> None:
    parts = [Part("image", f"{number}.png", None, b"x" * 900) for number in range(500)]
    assert read(make_body(parts), BULK, 5000) == parts


@pytest.mark.parametrize(
    ("parts", "limits", "kind", "words"),
    [
        ([Part("image", "a", None, b"x" * 1001)], BULK, BodyTooLargeError, "the picture has too many bytes.*1000"),
        ([Part("key", None, None, b"x" * 5000)], BULK, BodyTooLargeError, "the field `key` has too many bytes.*4096"),
        ([Part("i", "a", None, b"")] * 3, PartLimits(10, 5, files=2), BadFormError, "too many files.*at most 2"),
        ([Part("i", None, None, b"")] * 9, PartLimits(10, 5), BadFormError, "too many fields.*at most 8"),
        ([Part("i", None, None, b"")] * 9, PartLimits(10, 5, body_bytes=99), BodyTooLargeError, "the body.*most 99"),
    ],
)
def test_what_is_too_much_is_refused(
    parts: list[Part], limits: PartLimits, kind: type[CrossmatchError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        read(make_body(parts), limits, 500)


def test_the_clock_of_a_bulk_body_begins_anew_with_each_part_and_stops_while_one_is_dealt_with() -> None:
    parts = [Part("image", "a", None, b"x" * 10)] * 8
    body = make_body(parts)
    size = len(body) // 8
    assert read(body, BULK, size, 0.08) == parts  # 0.64 s in all, 0.2 s are allowed for each
    with pytest.raises(SlowBodyError, match=r"within 0\.2 s"):
        read(body, PartLimits(1000, 0.2, files=9), size, 0.08)
    with pytest.raises(SlowBodyError):
        read(body, BULK, 4, 0.08)

    async def deal_slowly() -> int:
        seen = 0
        async for _ in iterate_parts(make_request(cut(body, size)), BULK):
            await asyncio.sleep(0.1)
            seen += 1
        return seen

    assert asyncio.run(deal_slowly()) == 8


def test_text_that_is_none() -> None:
    part = read(make_body([Part("label", None, None, b"\xff")]))[0]
    with pytest.raises(BadFormError, match="the field `label` is not text"):
        part.text()
    assert read(make_body([Part("label", None, None, "猫".encode())]))[0].text() == "猫"
