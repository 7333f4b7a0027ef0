"""The Python client against a live service, sync and async, and against a server that is busy at first."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from index.bundle import Bundle
from service.client import AsyncClient, Client, NewItem, Retries
from service.client_answers import (
    AnswerError,
    BusyError,
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    ProblemError,
    RefusedError,
    UnavailableError,
    VersionError,
)
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import build
from tests.service.live_service import serve

RED, BLUE = draw_picture("red", 50), draw_picture("blue", 50)


@pytest.fixture(scope="module")
def url(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("client")
    build(write_drawn_pictures(place / "source"), tiny_bundle, place / "index")
    with serve(place / "index", place / "log") as service:
        yield service.url


def test_every_route(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        assert client.index().size == 24
        assert client.reload() == client.index()
        assert len(client.examples(3)) == 3
        (tmp_path / "red.png").write_bytes(RED)
        found = client.search(tmp_path / "red.png", k=4)
        assert {result.label for result in found.results} == {"red"}
        assert found.results == client.search(str(tmp_path / "red.png"), k=4, strategy="best").results
        assert found.results[0].probability is None
        pages = list(client.search_pages(RED, k=10))
        assert [len(page.results) for page in pages] == [10, 10, 4]
        best = client.search(BLUE, negatives=[RED], negative_ids=[1], strategy="best", exclude_ids=[2], k=24)
        assert not {1, 2} & {result.id for result in best.results}
        assert client.search(positive_ids=[1], k=3).results[0].label == "black"
        assert client.search(RED, crop=(0, 0, 20, 20), min_score=-1).results
        batch = client.search_batch([RED, b"hello"], k=1)
        assert batch[0].results[0].label == "red"  # type: ignore[union-attr]
        assert isinstance(batch[1], RefusedError)
        assert client.classify(RED, RED, k=4).label == "red"

        item = client.add(NewItem("new", RED, "red", {"x": 1, "y": 2}))
        assert client.add(NewItem("new", RED)) == item == client.item(item.id) == client.find("new")
        with pytest.raises(ConflictError, match="409 Conflict: the key is there with other content"):
            client.add(NewItem("new", BLUE))
        assert client.add(NewItem("new", BLUE), replace=True).version == 2
        changed = client.change(item.id, label=None, metadata={"z": [1]}, if_version=2)
        assert (changed.label, changed.metadata, changed.version) == (None, {"z": [1]}, 3)
        with pytest.raises(VersionError):
            client.change(item.id, key="newer", if_version=2)
        assert client.image(item.id)
        assert client.thumbnail(item.id).startswith(b"\xff\xd8")
        with pytest.raises(VersionError):
            client.remove(item.id, if_version=1)
        client.remove(item.id, if_version=3)
        with pytest.raises(NotFoundError):
            client.item(item.id)
        assert client.find("new") is None
        page = client.items(limit=20)
        assert len(client.items(cursor=page.next_cursor).items) == 4
        assert client.compact().pictures == 24


def test_many_items_go_in_bounded_requests(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client_calls._MANY", 3)
    items = [NewItem(f"many/{n}", draw_picture("white", 100 + n) if n != 4 else b"hello") for n in range(8)]
    with Client(url) as client:
        added = list(client.add_many(iter(items)))
        assert [one.key for one in added] == [item.key for item in items]
        assert [one.status for one in added] == [201] * 4 + [415] + [201] * 3
        assert isinstance(added[4].problem, RefusedError)
        assert [one.status for one in client.add_many(items)][:4] == [200] * 4
        for one in added:
            if one.id is not None:
                client.remove(one.id)


def test_the_async_client_answers_the_same(url: str) -> None:
    async def talk() -> None:
        with Client(url) as same:
            async with AsyncClient(url) as client:
                answers = await asyncio.gather(*(client.search(RED, k=5) for _ in range(8)))
                assert all(answer.results == same.search(RED, k=5).results for answer in answers)
                assert [len(page.results) async for page in client.search_pages(RED, k=10)] == [10, 10, 4]
                assert await client.index() == same.index()
                item = await client.add(NewItem("async", BLUE))
                assert await client.find("async") == item
                added = [one.status async for one in client.add_many([NewItem("async", BLUE), NewItem("b", RED)])]
                assert added == [200, 201]
                for key in ("async", "b"):
                    found = await client.find(key)
                    assert found is not None
                    await client.remove(found.id)
                with pytest.raises(NotFoundError):
                    await client.item(item.id)

    asyncio.run(talk())


def test_both_clients_have_the_same_methods() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("__") or name == "__init__":
            other = inspect.signature(getattr(AsyncClient, name))
            assert list(inspect.signature(method).parameters.values()) == list(other.parameters.values()), name


class Busy(BaseHTTPRequestHandler):
    """Says the prepared (status, Retry-After) one after the other, and then yes."""

    def do_GET(self) -> None:
        said: list[tuple[int, str | None]] = self.server.said  # type: ignore[attr-defined]
        self.server.heard.append((time.monotonic(), self.headers.get("Authorization")))  # type: ignore[attr-defined]
        status, after = said.pop(0) if said else (200, None)
        body = b'{"generation": "g", "model": "m", "size": 1, "added_later": true}'
        if status != 200:
            body = b'{"type": "about:blank", "title": "Busy", "status": %d, "detail": "so many"}' % status
        self.send_response(status)
        if after is not None:
            self.send_header("Retry-After", after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def busy_server(*said: tuple[int, str | None]) -> Iterator[tuple[str, list[Any]]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        server.said, server.heard = list(said), []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.heard  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, retries: Retries, *, asynchronous: bool) -> int:
    async def talk() -> int:
        async with AsyncClient(url, key="k", retries=retries) as client:
            return (await client.index()).size

    if asynchronous:
        return asyncio.run(talk())
    with Client(url, key="k", retries=retries) as client:
        return client.index().size


@pytest.mark.parametrize("asynchronous", [False, True])
class TestRetries:
    def test_it_asks_again_after_the_time_that_is_said(self, asynchronous: bool) -> None:
        with busy_server((429, "1"), (503, "0")) as (url, heard):
            assert ask(url, Retries(), asynchronous=asynchronous) == 1
        assert len(heard) == 3
        assert heard[1][0] - heard[0][0] >= 1.0
        assert {key for _, key in heard} == {"Bearer k"}

    def test_not_for_ever(self, asynchronous: bool) -> None:
        with busy_server(*[(429, "0")] * 9) as (url, heard):
            with pytest.raises(BusyError) as caught:
                ask(url, Retries(attempts=3), asynchronous=asynchronous)
            assert (caught.value.status, caught.value.detail, caught.value.retry_after) == (429, "so many", 0.0)
        assert len(heard) == 3

    @pytest.mark.parametrize("said", [(503, None), (503, "31"), (503, "soon"), (500, "0"), (507, None)])
    def test_not_where_it_would_not_help(self, asynchronous: bool, said: tuple[int, str | None]) -> None:
        with busy_server(said) as (url, heard), pytest.raises(UnavailableError):
            ask(url, Retries(), asynchronous=asynchronous)
        assert len(heard) == 1

    def test_nobody_there(self, asynchronous: bool) -> None:
        with pytest.raises(ConnectionFailedError):
            ask("http://127.0.0.1:9", Retries(), asynchronous=asynchronous)


def test_another_server_is_no_crossmatch(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split("port ")[1].split()[0]
            with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(AnswerError):
                client.index()
        finally:
            process.terminate()


def test_an_error_says_status_title_and_detail(url: str) -> None:
    with Client(url) as client:
        with pytest.raises(ProblemError) as caught:
            client.search(RED, min_probability=0.5)
        assert isinstance(caught.value, RefusedError)
        assert str(caught.value).startswith("422 Unprocessable Entity: there are no probabilities")


def test_it_needs_httpx_alone() -> None:
    code = (
        "import sys; import service.client; "
        "print(*sorted({n.split('.')[0] for n in sys.modules} & {'fastapi', 'starlette', 'pydantic', 'numpy', 'index', "
        "'training', 'PIL', 'faiss', 'uvicorn'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
