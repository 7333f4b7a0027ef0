"""A multipart body -> its parts, one by one as they come in, each held within its limit.

The next bytes are read from the connection only when the next part is asked for, so a slow consumer slows the client
down (TCP's own back-pressure) and no more than one part and one chunk of the network is ever held.
What may change here: the wording of refusals. Not: that every count is checked while the bytes come in.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from service.problems import BadFormError, BodyTooLargeError, SlowBodyError, UnsupportedBodyError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_OVERHEAD = 64 * 2**10  # bytes for boundaries and headers of the parts
_NAME = 200  # characters of a part's or a file's name that are kept


@dataclass(frozen=True)
class PartLimits:
    """How much one body may hold, and how long it may take."""

    file_bytes: int  # of one file
    seconds: float  # that we may have to wait for the body; of a `bulk` one: for each of its parts
    field_bytes: int = 4096  # of one part that is no file
    files: int = 1  # in all; of a `bulk` body: not counted
    fields: int = 8  # parts that are no file, likewise
    body_bytes: int | None = None  # of the whole body; None: as much as one file may have, and 64 KiB more
    bulk: bool = False  # an endless stream of parts, each dealt with before the next is read

    @property
    def longest_body(self) -> int | None:
        """Bytes of the whole body; None for a bulk one, that may go on for ever."""
        return None if self.bulk else self.body_bytes or self.file_bytes + _OVERHEAD


@dataclass(frozen=True)
class Part:
    """One whole part of a form."""

    name: str
    filename: str | None  # None: a text field. A path in it means nothing here
    content_type: str | None  # as the client says; what is in the bytes decides
    data: bytes = field(repr=False)

    @property
    def is_file(self) -> bool:
        """Whether it came as a file."""
        return self.filename is not None

    def text(self) -> str:
        """A text field's characters. Raises BadFormError where they are not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise BadFormError(f"the field `{self.name[:40]}` is not text", expected="UTF-8", found=error) from error


class _Collector:
    """What the push parser calls back: gathers headers and bytes of the part that comes in."""

    def __init__(self, limits: PartLimits) -> None:
        self.limits = limits
        self.whole: deque[Part] = deque()
        self.begun = 0  # parts so far
        self.ended = False  # the boundary after the last part came
        self._files = self._fields = 0
        self._begin()

    def _begin(self) -> None:
        self._header = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._size = 0

    def on_part_begin(self) -> None:
        self.begun += 1
        self._begin()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise BadFormError(
                "a part of the form has no name", expected='Content-Disposition: form-data; name="..."', found=kind
            )
        self._name = _read_name(options[b"name"])
        self._filename = _read_name(options[b"filename"]) if b"filename" in options else None
        is_file = self._filename is not None
        self._longest = self.limits.file_bytes if is_file else self.limits.field_bytes
        if self.limits.bulk:
            return
        self._files += is_file
        self._fields += not is_file
        for found, most, what in (
            (self._files, self.limits.files, "files"),
            (self._fields, self.limits.fields, "fields"),
        ):
            if found > most:
                raise BadFormError(
                    f"too many {what} in the form", expected=f"at most {most}", found=f"more than {most}"
                )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._longest:
            what = "the picture" if self._filename is not None else f"the field `{self._name[:40]}`"
            raise BodyTooLargeError(
                f"{what} has too many bytes", expected=f"at most {self._longest}", found=f"at least {self._size}"
            )
        self._pieces.append(data[start:end])

    def on_part_end(self) -> None:
        kind = self._headers.get(b"content-type")
        self.whole.append(
            Part(self._name, self._filename, kind.decode("latin-1") if kind else None, b"".join(self._pieces))
        )
        self._pieces = []

    def on_end(self) -> None:
        self.ended = True


async def collect_parts(request: Request, limits: PartLimits) -> list[Part]:
    """All parts of a multipart body that comes in within `limits.seconds`. Raises what `iterate_parts` does.

    One alarm for the whole body: setting one for each chunk costs more than the parser.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            return [part async for part in _parse(request, limits, _Collector(limits), _read(request))]
    except TimeoutError as error:
        raise _slow(limits) from error


async def iterate_parts(request: Request, limits: PartLimits) -> AsyncIterator[Part]:
    """Each part of a multipart body as soon as it is whole.

    Raises UnsupportedBodyError, SlowBodyError (408), BodyTooLargeError (413) or BadFormError (422), also between two
    parts; a client that goes away raises BadFormError, and so does a body that ends within a part.
    """
    collector = _Collector(limits)
    async for part in _parse(request, limits, collector, _read_in_time(request, limits, collector)):
        yield part


async def _parse(
    request: Request, limits: PartLimits, collector: _Collector, chunks: AsyncIterator[bytes]
) -> AsyncIterator[Part]:
    parser = _open_parser(request, collector)
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if limits.longest_body is not None and received > limits.longest_body:
            raise BodyTooLargeError(
                "the body has too many bytes", expected=f"at most {limits.longest_body}", found=f"at least {received}"
            )
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise BadFormError("the form can not be read", expected="multipart/form-data", found=error) from error
        while collector.whole:
            yield collector.whole.popleft()
    if received and not collector.ended:
        raise BadFormError("the form can not be read: it ends within a part", found=f"{received} bytes")


def _open_parser(request: Request, collector: _Collector) -> MultipartParser:
    callbacks: MultipartCallbacks = {
        "on_part_begin": collector.on_part_begin,
        "on_header_field": collector.on_header_field,
        "on_header_value": collector.on_header_value,
        "on_header_end": collector.on_header_end,
        "on_headers_finished": collector.on_headers_finished,
        "on_part_data": collector.on_part_data,
        "on_part_end": collector.on_part_end,
        "on_end": collector.on_end,
    }
    try:
        return MultipartParser(_find_boundary(request), callbacks)
    except FormParserError as error:
        raise BadFormError("the form can not be read", found=error) from error


def _find_boundary(request: Request) -> bytes:
    """The boundary that the Content-Type names; its charset is passed over, since we never use a client's codec."""
    text = request.headers.get("content-type", "")
    kind, options = parse_options_header(text)
    if kind != b"multipart/form-data":
        raise UnsupportedBodyError(
            "the body is not a form",
            expected="multipart/form-data",
            found=text[:100] or "no Content-Type",
            remedy="curl does it with -F image=@FILE",
        )
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadFormError("the form can not be read", expected="a boundary in the Content-Type", found=text[:100])
    return boundary


async def _read(request: Request) -> AsyncGenerator[bytes, None]:
    """Chunks of the body that are not empty."""
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect as error:
        raise BadFormError("the client went away before the form was complete") from error


async def _read_in_time(request: Request, limits: PartLimits, collector: _Collector) -> AsyncGenerator[bytes, None]:
    """Chunks of the body. The clock runs only while we wait for the client, never while a part is dealt with."""
    stream = _read(request)
    left = limits.seconds
    while True:
        started = time.monotonic()
        try:
            async with asyncio.timeout(left):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise _slow(limits) from error
        left -= time.monotonic() - started
        before = collector.begun
        yield chunk
        if collector.begun != before:
            left = limits.seconds


def _slow(limits: PartLimits) -> SlowBodyError:
    return SlowBodyError("the body takes too long to come in", expected=f"within {limits.seconds:g} s")


def _read_name(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")[:_NAME]
