"""`/metrics` over real HTTP: what is counted, by whom it can be read, and that the page names every figure."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.metrics import REASONS, STAGES, Metrics, Standing
from service.problems import REASONS as ERROR_REASONS
from service.settings import Settings
from tests import picture_zoo as zoo
from tests.documents import read_document, sections
from tests.drawn_pictures import draw_picture
from tests.service.live_service import search, serve

STANDING = Standing("0001-abc", "abc", 24, 1, 2, 3)


def read(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) -> value, of a scrape."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return parse(response.text)


def parse(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_tells_of_searches_refusals_and_the_index(drawn_index: Path, tmp_path: Path) -> None:
    with serve(drawn_index, tmp_path / "log") as started, httpx.Client(base_url=started.url) as client:
        for _ in range(3):
            search(client, draw_picture("red"))
        client.post("/v1/search", files={"image": b"no picture"})
        client.get("/v1/index", headers={"Host": "evil.example"})
        client.post("/v1/search", headers={"Origin": "https://evil.example"})
        client.request("PURGE", "/nothing")
        figures = read(client)
        asked = ("method", "POST"), ("route", "/v1/search")
        assert figures["crossmatch_requests_total", (*asked, ("status", "200"))] == 3
        assert figures["crossmatch_requests_total", (*asked, ("status", "415"))] == 1
        for stage in ("wait", "encode", "search", "answer"):
            assert figures["crossmatch_stage_seconds_count", (("stage", stage),)] >= 3, stage
            assert figures["crossmatch_stage_seconds_sum", (("stage", stage),)] > 0, stage
        assert figures["crossmatch_stage_seconds_count", (("stage", "decode"),)] >= 3
        assert figures["crossmatch_best_score_count", ()] == 3
        assert figures["crossmatch_best_score_bucket", (("le", "0.95"),)] == 0  # it found the picture itself
        assert figures["crossmatch_rejections_total", (("reason", "media_type"),)] == 1
        assert figures["crossmatch_rejections_total", (("reason", "host"),)] == 1
        assert figures["crossmatch_rejections_total", (("reason", "origin"),)] == 1
        assert figures["crossmatch_index_items", ()] == 24
        [info] = [labels for name, labels in figures if name == "crossmatch_index_info"]
        index = client.get("/v1/index").json()
        assert dict(info) == {"generation": index["generation"], "model": index["model"]}
        assert figures["process_resident_memory_bytes", ()] > 10e6
        assert figures["process_cpu_seconds_total", ()] > 0
        assert figures["crossmatch_in_flight", (("kind", "search"),)] == 0
        assert figures["crossmatch_queued", ()] == 0
        routes = {dict(labels)["route"] for name, labels in figures if name == "crossmatch_requests_total"}
        assert routes <= {"/v1/search", "-", "/healthz", "/metrics"}  # never what a stranger wrote


def test_what_waited_too_long_is_counted_by_itself(drawn_index: Path, tmp_path: Path) -> None:
    picture = zoo.save(zoo.plain("red", 5000, 5000), "PNG")
    options = ["--threads", "1", "--deadline", "0.1"]
    with serve(drawn_index, tmp_path / "log", *options) as started, httpx.Client(base_url=started.url) as client:
        with ThreadPoolExecutor(8) as threads:
            asked = threads.map(lambda _: client.post("/v1/search", files={"image": picture}).status_code, range(8))
            statuses = list(asked)
        assert set(statuses) == {200, 503}
        figures = read(client)
    assert figures["crossmatch_rejections_total", (("reason", "deadline"),)] == statuses.count(503)
    assert figures["crossmatch_stage_seconds_count", (("stage", "wait"),)] == statuses.count(200)


def test_each_application_has_figures_of_its_own() -> None:
    one, other = (create_app(Settings(Path("nowhere"))).state.metrics for _ in range(2))
    one.count_rejection("busy")
    assert 'crossmatch_rejections_total{reason="busy"} 1.0' in one.render(STANDING).decode()
    assert "busy" not in other.render(STANDING).decode()


def test_threads_count_together() -> None:
    metrics = Metrics()
    threads = [threading.Thread(target=lambda: [metrics.observe("encode", 0.01) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parse(metrics.render(STANDING).decode())["crossmatch_stage_seconds_count", (("stage", "encode"),)] == 2000


def test_what_is_not_known_is_not_counted() -> None:
    metrics = Metrics()
    metrics.observe("a stage of tomorrow", 1.0)
    assert "tomorrow" not in metrics.render(STANDING).decode()


def test_the_page_names_every_figure_stage_and_reason() -> None:
    text = sections(read_document("docs/operations.md"))["Watch"]
    names = {
        re.sub(r"_(total|created|info)$", "", family.name)
        for family in text_string_to_metric_families(Metrics().render(STANDING).decode())
        if family.name.startswith("crossmatch")
    }
    named = {re.sub(r"_(total|info)$", "", name) for name in re.findall(r"`(crossmatch_\w+)", text)}
    assert named == names
    for word in (*STAGES, *REASONS.values(), *ERROR_REASONS.values(), "host", "origin", "key", "scope", "rate"):
        assert f"`{word}`" in text, word


@pytest.mark.parametrize("path", ["/metrics", "/v1/index", "/nothing", "/static/page.css"])
def test_every_answer_has_a_request_id(client: httpx.Client, path: str) -> None:
    ids = [client.get(path).headers["x-request-id"] for _ in range(2)]
    assert ids[0] != ids[1]
