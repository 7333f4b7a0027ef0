"""Lines of the log: one an event, whole as JSON, and nothing in them that is not for a log."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from index.layout import Layout
from service.access.keys import create_key
from service.access.scopes import Scope as KeyScope
from service.logs import JsonFormatter, TextFormatter
from service.metrics import Metrics
from service.observation import Observation, choose_id
from tests.drawn_pictures import draw_picture
from tests.service.live_service import serve


def record(message: str, *, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("service.x", logging.ERROR, "x.py", 1, message, (), info)


def test_a_message_is_one_line_whatever_is_in_it() -> None:
    line = TextFormatter().format(record("two\nlines \x1b[31mand a colour\r"))
    assert "\n" not in line
    assert "\x1b" not in line
    entry = json.loads(JsonFormatter().format(record("two\nlines 🍎")))
    assert entry["message"] == "two\nlines 🍎"
    assert "\n" not in JsonFormatter().format(record("two\nlines"))


def test_a_stack_trace_is_a_field_of_the_line() -> None:
    try:
        raise RuntimeError("inside")
    except RuntimeError as error:
        line = JsonFormatter().format(record("unexpected", error=error))
    assert "\n" not in line
    assert "RuntimeError: inside" in json.loads(line)["exception"]


@pytest.mark.parametrize("said", ["abc", "A.b-c_1", "0" * 64])
def test_a_sane_id_is_kept(said: str) -> None:
    assert choose_id(said) == said


@pytest.mark.parametrize("said", [None, "", "0" * 65, "a b", "a\nb", "é", "<x>", "a/b", "a;b"])
def test_another_id_is_made_anew(said: str | None) -> None:
    made = choose_id(said)
    assert made != said
    assert len(made) == 16
    assert choose_id(said) != made


def test_each_request_is_one_json_line_without_what_it_asked(drawn_index: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        serve(drawn_index, log, "--log-format", "json") as started,
        httpx.Client(base_url=started.url, headers={"X-Request-Id": "mine.1"}) as client,
    ):
        picture = {"image": ("private-name.png", draw_picture("red"))}
        found = client.post("/v1/search", params={"k": 3}, files=picture)
        client.post("/v1/search", params={"k": 3, "private": "private-query"}, files=picture)
        assert found.headers["x-request-id"] == "mine.1"
        client.post("/v1/search", files={"image": b"private-bytes"})
        client.get("/private-path", headers={"Authorization": "Bearer private-key"})
        client.get("/v1/items/1/image", headers={"X-Request-Id": "not sane"})
        client.get("/healthz", headers={"Host": "private.example"})
    text = log.read_text()
    assert "private" not in text
    entries = [json.loads(line) for line in text.splitlines()]
    requests = [entry for entry in entries if "route" in entry]
    seen = [(one["method"], one["route"], one["status"], one["reason"]) for one in requests]
    assert seen == [
        ("POST", "/v1/search", 200, None),
        ("POST", "/v1/search", 422, "invalid"),
        ("POST", "/v1/search", 415, "media_type"),
        ("GET", "-", 404, "not_found"),
        ("GET", "/v1/items/{id}/image", 200, None),
        ("GET", "/healthz", 421, "host"),
    ]
    assert [one["request_id"] for one in requests].count("mine.1") == 5
    assert all(one["ms"] > 0 and one["client"] == "127.0.0.1" for one in requests)


def test_a_refusal_names_the_key_and_the_route_that_it_asked_for(drawn_index: Path, tmp_path: Path) -> None:
    layout, log = Layout(Path(shutil.copytree(drawn_index, tmp_path / "own.index"))), tmp_path / "log"
    key, text = create_key(layout, KeyScope.READ)
    options = ["--require-key", "--rate", "0.001", "--burst", "2", "--log-format", "json"]
    with serve(layout.folder, log, *options) as started, httpx.Client(base_url=started.url) as client:
        for method, path, header in (
            ("DELETE", "/v1/items/1", text),
            ("GET", "/v1/index", text),
            ("GET", "/nowhere", text),
            ("GET", "/v1/items/7/thumbnail", text),
            ("POST", "/v1/search", "cmk_00000000_x"),
        ):
            client.request(method, path, headers={"Authorization": f"Bearer {header}"})
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    seen = [(one["route"], one["status"], one["reason"], one["key"]) for one in entries if "route" in one]
    assert seen == [
        ("/v1/items/{id}", 403, "scope", key.id),
        ("/v1/index", 200, None, key.id),
        ("-", 404, "not_found", key.id),
        ("/v1/items/{id}/thumbnail", 429, "rate", key.id),
        ("/v1/search", 401, "key", None),
    ]


def test_a_request_is_a_line_of_text_unless_the_level_is_higher(drawn_index: Path, tmp_path: Path) -> None:
    for level, expected in (("info", 1), ("warning", 0)):
        log = tmp_path / level
        with serve(drawn_index, log, "--log-level", level) as started:
            httpx.get(f"{started.url}/healthz")
        assert log.read_text().count("GET /healthz 200") == expected


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_cut_off_by_the_end_is_told_so(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    """And is a line of the log, not a stack trace."""
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    async def receive() -> Message:
        raise AssertionError("nothing is to be received")

    async def send(message: Message) -> None:
        sent.append(message)

    async def check() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        task = asyncio.create_task(Observation(app, Metrics())(scope, receive, send))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    asyncio.run(check())
    assert sent[0]["status"] == (200 if begun else 503)
    assert len(sent) == (1 if begun else 2)  # one that was begun can not be ended as if it were whole
    assert "the service is stopping" in caplog.text
    assert "Traceback" not in caplog.text
