"""The benchmarks' own tools tell the truth: a load generator that miscounts would make every figure wrong."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.load import drive, make_request
from benchmarks.plot import plot_lines
from tests.drawn_pictures import draw_picture
from tests.service.live_service import serve


def test_the_load_generator_counts_answers_and_refusals(drawn_index: Path, tmp_path: Path) -> None:
    with serve(drawn_index, tmp_path / "log", "--waiting", 2) as service:
        pictures = [draw_picture("red"), draw_picture("green")]
        calm = drive(service.url, pictures, 2, 0.5)
        assert set(calm.statuses) == {"200"}
        assert calm.failures == 0
        assert 0 < calm.p50 <= calm.p95 <= calm.p99 < 500
        full = drive(service.url, pictures, 12, 0.5)
        assert set(full.statuses) == {"200", "429"}
        paced = drive(service.url, pictures, 1, 1.0, pace=20)
        assert 10 <= paced.statuses["200"] <= 22
        bad = drive(service.url, [b"no picture"], 1, 0.2)
        assert set(bad.statuses) == {"415"}
    gone = drive(service.url, pictures, 1, 0.2)
    assert gone.failures > 0
    assert not gone.statuses


def test_a_request_is_whole() -> None:
    head, body = make_request("http://127.0.0.1:80", b"picture").split(b"\r\n\r\n", 1)
    assert f"Content-Length: {len(body)}".encode() in head


def test_a_plot_is_an_svg(tmp_path: Path) -> None:
    plot_lines(tmp_path / "a.svg", "Title", ("x", "y"), (1, 2), {"p50": [1.0, 2.0], "p99": [2.0, 4.0]})
    assert len(ET.parse(tmp_path / "a.svg").getroot().findall("{http://www.w3.org/2000/svg}polyline")) == 2
