"""Places: none is given twice, none is lost, and those of clients that have gone are free at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from service.admission import Admission, Gate, Gates
from tests.drawn_pictures import draw_picture
from tests.service.live_service import search, serve

SCOPE = {"type": "http", "method": "POST", "path": "/v1/search", "headers": []}


def test_no_place_is_given_twice_and_none_is_lost() -> None:
    gate = Gate("searches", 2)
    for _ in range(3):
        assert [gate.enter() for _ in range(3)] == [True, True, False]
        gate.leave()
        gate.leave()
    assert (gate.taken, gate.refused) == (0, 3)


@pytest.mark.parametrize(
    ("method", "path", "gate"),
    [
        ("POST", "/v1/search", "searches"),
        ("POST", "/v1/search/batch", "searches"),
        ("POST", "/v1/classify", "searches"),
        ("POST", "/v1/items", "writes"),
        ("PATCH", "/v1/items/7", "writes"),
        ("DELETE", "/v1/items/7", "writes"),
        ("GET", "/v1/items/7/image", None),
        ("GET", "/healthz", None),
        ("POST", "/elsewhere", None),
    ],
)
def test_each_request_goes_through_its_own_gate(method: str, path: str, gate: str | None) -> None:
    found = Gates(1, 1).find(method, path)
    assert (found and found.what) == gate


def call(app: Callable[[Scope, Receive, Send], object], gates: Gates, messages: list[Message]) -> list[Message]:
    """What a client gets that sends `messages` and then waits."""
    sent: list[Message] = []

    async def run() -> None:
        waiting = list(messages)

        async def receive() -> Message:
            if not waiting:
                await asyncio.sleep(60)
            return waiting.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        async with asyncio.timeout(5):
            await Admission(app, lambda _: gates)(SCOPE, receive, send)  # type: ignore[arg-type]

    asyncio.run(run())
    return sent


BODY: Message = {"type": "http.request", "body": b"", "more_body": False}


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def test_whoever_is_refused_is_not_read() -> None:
    gates = Gates(1, 1)
    gates.searches.enter()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError

    sent = call(app, gates, [])
    assert sent[0]["status"] == 429
    assert b"too many searches at once (expected at most 1)" in sent[1]["body"]
    assert (b"retry-after", b"1") in sent[0]["headers"]


def test_the_work_of_a_client_that_goes_away_is_cancelled() -> None:
    gates, cancelled = Gates(1, 1), []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        assert gates.searches.taken == 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    assert call(app, gates, [BODY, {"type": "http.disconnect"}]) == []
    assert (cancelled, gates.searches.taken) == ([True], 0)


def test_what_comes_after_the_answer_cancels_nothing() -> None:
    """A server says that the client has gone once it was answered, whether it has or not."""
    gates, ended = Gates(1, 1), []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await answer(send)
        await asyncio.sleep(0.05)
        ended.append(True)

    assert len(call(app, gates, [BODY, {"type": "http.disconnect"}])) == 2
    assert ended == [True]


def test_an_error_gives_the_place_back() -> None:
    gates = Gates(1, 1)

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(app, gates, [])
    assert gates.searches.taken == 0


def test_clients_that_leave_free_their_places_at_once(drawn_index: Path, tmp_path: Path) -> None:
    """Over real sockets: some go while they send, others while they wait for the answer."""
    picture = draw_picture("red", 1, "PNG")
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = head + picture + b"\r\n--b--\r\n"
    with (
        serve(drawn_index, tmp_path / "log", "--waiting", 2, "--threads", 1) as service,
        httpx.Client(base_url=service.url, timeout=20) as client,
    ):
        url = httpx.URL(service.url)
        lines = f"POST /v1/search HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
        lines += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
        for sent in (body[:50], body) * 3:
            gone = [socket.create_connection((url.host, url.port or 80)) for _ in range(2)]
            for one in gone:
                one.sendall(lines.encode() + sent)
            time.sleep(0.02)
            for one in gone:
                one.close()
            time.sleep(0.1)
            assert search(client, picture, 1)["results"]
        assert "Traceback" not in service.log.read_text()
