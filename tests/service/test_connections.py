"""Clients that send a head for ever, too long a head, or a body that nobody reads."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.connections import BoundedProtocol
from service.pacing import Paced
from tests.drawn_pictures import draw_picture
from tests.service.live_service import serve, wait_for_address


class Quick(BoundedProtocol):
    """With bounds that a test can wait for."""

    head_seconds = 0.3
    drain_seconds = 0.5
    drain_bytes = 2**20
    write_seconds = 0.4
    most_connections = 8


_LONG = 8 * 2**20
_DONE: list[str] = []


async def refuse(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers without reading the body; at `/long` with a long text."""
    if scope["path"] == "/long":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % _LONG)]})
        await send({"type": "http.response.body", "body": b"x" * _LONG})
        _DONE.append(scope["path"])
        return
    await send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Where a server answers that refuses everything."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(16)
    server = uvicorn.Server(uvicorn.Config(Paced(refuse), http=Quick, ws="none", lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    yield bound.getsockname()
    server.should_exit = True
    thread.join(10)


def closed_after(connection: socket.socket) -> float:
    """Seconds until the other side closes."""
    started = time.monotonic()
    connection.settimeout(5)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - started


def send_slowly(connection: socket.socket, pieces: list[bytes], pause: float = 0) -> None:
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(pause)


def answer(connection: socket.socket) -> bytes:
    connection.settimeout(5)
    return connection.recv(65536)


def expect_last_problem(data: bytes, status: int) -> None:
    """A problem document, after which the connection ends."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_ends_the_connection(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(sent)
        assert 0.1 < closed_after(connection) < 2


def test_a_head_that_drips_ends_it_too(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        started = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011
            send_slowly(connection, [b"GET / HT", *[b"x"] * 100], 0.05)
        assert time.monotonic() - started < 3


def test_a_head_that_is_too_long_is_431(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-More: %s\r\n" % (b"y" * 1000) * 100)
        expect_last_problem(answer(connection), 431)


@pytest.mark.parametrize(
    "sent",
    [b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", b"get / HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01"],
)
def test_what_is_no_request_is_a_problem_too(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(sent)
        expect_last_problem(answer(connection), 400)
        assert closed_after(connection) < 1


def test_a_refused_body_is_drained_and_the_connection_goes_on(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        for _ in range(3):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)
            assert answer(connection).startswith(b"HTTP/1.1 429 ")


def test_but_not_for_ever(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nx")
        assert answer(connection).startswith(b"HTTP/1.1 429 ")
        assert 0.2 < closed_after(connection) < 2
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        with pytest.raises(OSError):  # noqa: PT011
            send_slowly(connection, [b"x" * 2**20] * 64)


def ask_for_long(address: tuple[str, int]) -> socket.socket:
    _DONE.clear()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.connect(address)
    connection.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return connection


def receive_all(connection: socket.socket) -> int:
    connection.settimeout(5)
    size = 0
    try:
        while data := connection.recv(2**20):
            size += len(data)
            if size > _LONG:
                break
    except ConnectionResetError:
        pass
    return size


def test_a_client_that_does_not_read_holds_nothing_for_long(address: tuple[str, int]) -> None:
    with ask_for_long(address) as connection:
        time.sleep(0.2)
        assert not _DONE  # its place is taken as long as the answer is on its way
        time.sleep(0.8)
        assert _DONE
        assert receive_all(connection) < _LONG


def test_one_that_reads_slowly_gets_all(address: tuple[str, int]) -> None:
    with ask_for_long(address) as connection:
        got = 0
        for _ in range(12):  # longer than a client may take that reads nothing
            time.sleep(0.1)
            got += len(connection.recv(2**16))
        assert not _DONE
        assert got + receive_all(connection) > _LONG


def test_idle_connections_make_room_for_new_ones(address: tuple[str, int]) -> None:
    with ExitStack() as idle:
        first = idle.enter_context(socket.create_connection(address))
        time.sleep(0.02)
        for _ in range(7):
            idle.enter_context(socket.create_connection(address))
        for _ in range(4):  # each is kept alive, and idle
            connection = idle.enter_context(socket.create_connection(address))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer(connection).startswith(b"HTTP/1.1 429 ")
        assert closed_after(first) < 0.2


def test_where_none_is_idle_a_new_one_is_refused(address: tuple[str, int]) -> None:
    with ExitStack() as busy:
        for _ in range(8):
            busy.enter_context(ask_for_long(address))
        time.sleep(0.1)
        with socket.create_connection(address) as connection:
            expect_last_problem(answer(connection), 503)


def test_idle_connections_leave_the_service_files_to_open(drawn_index: Path, tmp_path: Path) -> None:
    """Else SQLite could not open the catalogue."""
    limited = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh", sys.executable, "-m", "crossmatch", "serve", "--port", "0"]
    log = tmp_path / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen([*limited, "--index", str(drawn_index)], stderr=errors) as process,
        ExitStack() as idle,
    ):
        idle.callback(process.terminate)
        url = httpx.URL(wait_for_address(process, log))
        for _ in range(200):
            idle.enter_context(socket.create_connection((url.host, url.port or 0)))
        for _ in range(3):
            assert httpx.get(url.join("/readyz")).status_code == 200
            picture = {"image": draw_picture("red")}
            assert httpx.post(url.join("/v1/search"), files=picture).status_code == 200


def test_told_to_stop_it_ends_what_is_under_way(drawn_index: Path, tmp_path: Path) -> None:
    """A search whose body is on its way is answered; nobody else gets in."""
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body += draw_picture("red") + b"\r\n--b--\r\n"
    with serve(drawn_index, tmp_path / "log") as service:
        url = httpx.URL(service.url)
        head = f"POST /v1/search HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection((url.host, url.port or 0)) as connection:
            connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + body[:60])
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError):  # noqa: PT011
                socket.create_connection((url.host, url.port or 0)).close()
            connection.sendall(body[60:])
            assert answer(connection).startswith(b"HTTP/1.1 200 ")
        assert service.process.wait(10) == 128 + signal.SIGTERM
        assert "Traceback" not in service.log.read_text()
