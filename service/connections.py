"""A connection that can not be held for ever: what uvicorn leaves unbounded is bounded here.

A head must come within seconds and within 64 KiB; the rest of a body whose request was refused is read and thrown away,
so that the client gets to read the answer, but only so much of it and for so long. A client that reads nothing of an
answer, and sends nothing either, is cut off.
What may change here: the bounds. Not: that each thing a client may send, or not send, has one.
"""

from __future__ import annotations

import asyncio
import fcntl
import resource
import socket
import sys
import termios
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import MEDIA_TYPE, make_document

_FILES = 8192  # open at once, where the system allows as many


def _make_answer(status: HTTPStatus, detail: str, header: str = "") -> bytes:
    """The last answer of a connection, to what never became a request that a route could see."""
    body = make_document(status, detail).model_dump_json().encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        f"{header}x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


_TOO_LONG = _make_answer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the head is too long (expected at most 64 KiB for the address and all headers)",
)
_NO_ROOM = _make_answer(
    HTTPStatus.SERVICE_UNAVAILABLE, "too many connections at once; try again in a second", "retry-after: 1\r\n"
)
_UNREADABLE = _make_answer(
    HTTPStatus.BAD_REQUEST, "this can not be read as HTTP/1.1 (expected a known method in upper case, and a whole head)"
)


def _count_unread(connection: socket.socket) -> int:
    """Bytes that the kernel has yet to get rid of: megabytes may go before it asks for more. 0 where it can not say."""
    try:
        return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def plan_connections() -> int:
    """How many connections there may be, after asking for as many open files as are of use: half are for the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        soft = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return _FILES // 2 if soft == resource.RLIM_INFINITY else min(_FILES, soft) // 2


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, bounded."""

    head_bytes = 64 * 2**10  # of the address and the headers
    head_seconds = 20.0  # from the first byte, or from the connection on
    drain_bytes = 128 * 2**20  # that are thrown away after an answer
    drain_seconds = 30.0  # during which they are

    write_seconds = 60.0  # during which a client that has to read takes or sends something

    most_connections = 512  # of the server; then one that is idle makes room, or the new one is refused

    _head = 0
    _idle_since = 0.0  # of the loop's clock
    _taken = 0  # bytes of bodies
    _reading: asyncio.TimerHandle | None = None
    _drained = 0
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._set_alarm(self.head_seconds)
        if len(self.connections) > self.most_connections:
            self._make_room()

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and one is not self and one.idle]
        if others:
            min(others, key=lambda one: one._idle_since).transport.abort()
        else:
            self.transport.write(_NO_ROOM)
            self.transport.close()

    @property
    def idle(self) -> bool:
        """Whether no request of it is under way, nor an answer still to be read."""
        waits = self.cycle is None or self.cycle.response_complete
        return waits and not self.transport.is_closing() and self.transport.get_write_buffer_size() == 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._unset_alarm()
        self._stop_watching()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._head = 0
        self._set_alarm(self.head_seconds)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        if self._fits(len(url)):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if self._fits(len(name) + len(value)):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._unset_alarm()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body; after the answer it is thrown away."""
        self._taken += len(body)
        if self.transport.is_closing():
            return
        if self.cycle.response_complete:
            self._drained += len(body)
            if self._drained > self.drain_bytes:
                self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        if self.transport.is_closing():
            return
        answered = self.cycle.response_complete
        super().on_message_complete()
        if answered:  # uvicorn forgot its own alarm when the rest of the body came
            self._set_alarm(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """An answer was sent; of a refused request, before its body was whole."""
        unread = self.cycle.more_body
        self._idle_since = self.loop.time()
        super().on_response_complete()
        self._drained = 0
        if unread:
            self._set_alarm(self.drain_seconds)

    def pause_writing(self) -> None:
        """More of an answer lies here than the client has read."""
        super().pause_writing()
        self._watch_reading(self._progress())

    def resume_writing(self) -> None:
        """It has read."""
        self._stop_watching()
        super().resume_writing()

    def _progress(self) -> tuple[int, int, int]:
        waiting = self.transport.get_write_buffer_size()
        return waiting, _count_unread(self.transport.get_extra_info("socket")), self._taken

    def _watch_reading(self, before: tuple[int, int, int]) -> None:
        def look() -> None:
            if (now := self._progress()) == before:
                self.transport.abort()  # closing would wait for the client to read the rest
            else:
                self._watch_reading(now)

        self._stop_watching()
        self._reading = self.loop.call_later(self.write_seconds, look)

    def _stop_watching(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses, in the middle of a body, too; `msg` is uvicorn's, and tells nothing."""
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_UNREADABLE)
        self.transport.close()

    def _fits(self, size: int) -> bool:
        self._head += size
        if self._head > self.head_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()
        return not self.transport.is_closing()

    def _set_alarm(self, seconds: float) -> None:
        self._unset_alarm()
        self._alarm = self.loop.call_later(seconds, self._end)

    def _unset_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
