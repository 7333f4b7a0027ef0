"""What the service says of itself: the index, a build that is going on, life and readiness."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from index.bundle import Bundle
from index.catalog import Catalog
from index.layout import Layout
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.service.live_service import LiveService, expect_problem, run_crossmatch, search, serve


def test_the_index_says_what_the_command_says(client: httpx.Client, live_service: LiveService) -> None:
    answer = client.get("/v1/index").json()
    assert list(answer) == ["generation", "model", "size", "recall", "building", "attribution"]
    code, out, _ = run_crossmatch("index", "info", "--index", live_service.index, "--json")
    assert code == 0
    info = json.loads(out)
    assert {name: answer[name] for name in ("generation", "model", "size", "recall")} == {
        name: info[name] for name in ("generation", "model", "size", "recall")
    }
    assert (answer["size"], answer["recall"]) == (len(live_service.pictures), 1.0)
    assert answer["building"] is None
    assert answer["attribution"] is None


def test_it_lives_and_is_ready(client: httpx.Client) -> None:
    assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (200, {"status": "alive"})
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"status": "ready"})


def test_an_index_that_can_not_be_read_is_alive_and_not_ready(
    tiny_bundle: Bundle, own_pictures: Path, tmp_path: Path
) -> None:
    index = tmp_path / "own.index"
    assert run_crossmatch("index", "build", own_pictures, "--model", tiny_bundle.folder, "--index", index)[0] == 0
    with serve(index, tmp_path / "log") as service, httpx.Client(base_url=service.url) as client:
        assert client.get("/readyz").status_code == 200
        index.rename(tmp_path / "away")
        (tmp_path / "away" / "catalog.sqlite").write_bytes(b"\0" * 8192)  # under the open connections
        (tmp_path / "away" / "catalog.sqlite-wal").unlink(missing_ok=True)
        assert client.get("/healthz").status_code == 200
        expect_problem(client.get("/readyz"), 503, "log says why")


def start_build(source: Path, bundle: Bundle, index: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "crossmatch", "index", "build", str(source), "--model", str(bundle.folder)]
    return subprocess.Popen([*command, "--index", str(index), "--threads", "1"], stderr=subprocess.DEVNULL)


def wait_for_items(index: Path, enough: int) -> None:
    """Wait until a build has come that far; the index appears whole, so it can be opened as soon as it is there."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if Layout(index).is_index():
            with Catalog(Layout(index).catalog) as catalog:
                if catalog.count_items() >= enough:
                    return
        time.sleep(0.01)
    raise AssertionError("the build does not get on")


def test_the_progress_of_a_real_build_is_told_and_its_pictures_are_found(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source, index = tmp_path / "many", tmp_path / "many.index"
    write_drawn_pictures(source, ["red", "blue"], per_label=300)
    total = 600
    with start_build(source, tiny_bundle, index) as build:
        try:
            wait_for_items(index, 1)
            # Held still part of the way, so that the service has time to start.
            build.send_signal(signal.SIGSTOP)
            with serve(index, tmp_path / "log") as service, httpx.Client(base_url=service.url) as client:
                before = client.get("/v1/index").json()
                assert before["building"] == {"done": before["size"], "total": total}
                assert before["size"] < total
                build.send_signal(signal.SIGCONT)
                seen = watch_to_the_end(client)
                assert build.wait(30) == 0
                assert seen == sorted(seen)
                assert client.get("/v1/index").json() | {"generation": ""} == before | {
                    "generation": "",
                    "size": total,
                    "recall": 1.0,
                    "building": None,
                }
                result = search(client, draw_picture("blue", 299, "JPEG"), 1)
                assert result["results"][0]["key"] == "blue/blue-299.jpg"
                assert result["index"]["size"] == total
        finally:
            build.kill()


def watch_to_the_end(client: httpx.Client) -> list[int]:
    """How far the build was at each look, until there is none."""
    seen: list[int] = []
    end = time.monotonic() + 30
    while time.monotonic() < end:
        building: dict[str, Any] | None = client.get("/v1/index").json()["building"]
        if building is None:
            return seen
        seen.append(building["done"])
        time.sleep(0.02)
    raise AssertionError("the build does not end")


def test_an_interrupted_build_is_not_one_that_goes_on(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source, index = tmp_path / "many", tmp_path / "many.index"
    write_drawn_pictures(source, ["red"], per_label=400)
    with start_build(source, tiny_bundle, index) as build:
        wait_for_items(index, 1)
        build.kill()
    with serve(index, tmp_path / "log") as service, httpx.Client(base_url=service.url) as client:
        answer = client.get("/v1/index").json()
        assert answer["building"] is None
        assert search(client, draw_picture("red"))["results"]
