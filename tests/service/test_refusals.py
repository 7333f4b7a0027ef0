"""What the state of the index refuses, over real HTTP: a full disk, a second compaction, a cursor that has expired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import pytest

from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.layout import Layout
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import build
from tests.service.live_service import Started, expect_problem, search, serve
from tests.small_disk import fill, mount_small_disk
from tests.tiny_model import write_tiny_bundle

RED, BLACK = draw_picture("red", 50), draw_picture("black", 50)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_drawn_pictures(tmp_path / "source", ["red", "blue"])


@pytest.fixture
def index(source: Path, tiny_bundle: Bundle, tmp_path: Path) -> Path:
    build(source, tiny_bundle, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def served(index: Path, tmp_path: Path) -> Iterator[Started]:
    with serve(index, tmp_path / "log") as started:
        yield started


def ask(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/v1/items", data={"key": key}, files={"image": BLACK})


def test_a_full_disk_is_507_until_there_is_room(source: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Searches go on and so does removing; what was refused is not there, and is added once there is room."""
    with mount_small_disk(tmp_path / "disk") as disk:
        build(source, tiny_bundle, disk / "index")
        with (
            serve(disk / "index", tmp_path / "log") as started,
            httpx.Client(base_url=started.url, timeout=30) as client,
        ):
            expected = search(client, RED)
            fill(disk)
            words = ("the disk that holds the index is full", "searches go on")
            expect_problem(ask(client, "new"), 507, *words)
            [line] = client.post("/v1/items/batch", data={"key": "new"}, files={"image": BLACK}).text.splitlines()
            assert json.loads(line)["status"] == 507
            expect_problem(client.post("/v1/index/compact"), 507, *words)
            assert search(client, RED) == expected
            fill(disk)
            assert client.delete("/v1/items/1").status_code == 204
            fill(disk)
            expect_problem(ask(client, "new"), 507, *words)
            assert client.get("/v1/items", params={"key": "new"}).json()["items"] == []
            (disk / "filler").unlink()
            assert ask(client, "new").status_code == 201
            assert search(client, BLACK)["results"][0]["key"] == "new"
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_second_compaction_at_once_is_409(served: Started, index: Path) -> None:
    def compact(_: int) -> httpx.Response:
        return httpx.post(f"{served.url}/v1/index/compact", timeout=30)

    with ThreadPoolExecutor(2) as threads:
        with CatalogWriter(Layout(index).catalog) as catalog, catalog.writing():  # which the first one waits for
            asked = [threads.submit(compact, number) for number in range(2)]
            done, _ = wait(asked, timeout=4, return_when="FIRST_COMPLETED")
            [refused] = done
        first, second = sorted((each.result() for each in asked), key=lambda response: response.status_code)
    assert second is refused.result()
    expect_problem(second, 409, "a compaction is under way already", "wait for it to end")
    assert (first.status_code, first.json()["pictures"]) == (200, 8)
    assert compact(0).status_code == 200


def test_a_cursor_of_a_generation_that_answers_no_more_is_410(
    served: Started, source: Path, index: Path, tmp_path: Path
) -> None:
    with httpx.Client(base_url=served.url, timeout=30) as client:
        cursor = search(client, RED, k=3)["next_cursor"]
        again = {"params": {"k": 3, "cursor": cursor}, "files": {"image": RED}}
        assert client.post("/v1/search", **again).status_code == 200  # type: ignore[arg-type]
        build(source, write_tiny_bundle(tmp_path / "other", seed=1), index)
        expect_problem(client.post("/v1/search", **again), 410, "search again")  # type: ignore[arg-type]
        assert len(search(client, RED, k=3)["results"]) == 3
