from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from training.examination import Examination
from training.report import RunRecord, draw_report, write_page

CHROMIUM = Path("/usr/bin/chromium")
MakeRecord = Callable[..., RunRecord]


class Outline(HTMLParser):
    """Tags, addresses and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "poster")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_one_file_without_script_or_request(make_record: MakeRecord) -> None:
    page = draw_report(make_record())
    outline = Outline(page)
    assert not {"script", "link", "iframe", "object"} & set(outline.tags)
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in outline.addresses)
    assert "url(" not in page
    assert "@import" not in page


def test_it_tells_the_run(make_record: MakeRecord, examination: Examination) -> None:
    record = make_record()
    text = Outline(draw_report(record)).text
    figures = examination.assessment.figures
    assert f"{figures.recall[1]:.3f}" in text
    assert f"{examination.intervals['map_at_r'].low:.3f} to {examination.intervals['map_at_r'].high:.3f}" in text
    assert record.calibration is not None
    assert f"{record.calibration.expected_calibration_error:.3f}" in text
    for words in (
        "Tightness against contrast",
        "Learning rate",
        "taken for",
        "0.25",
        "torch",
        record.manifest.model_id,
    ):
        assert words in text


def test_what_a_user_named_is_escaped(make_record: MakeRecord) -> None:
    page = draw_report(make_record(name="<script>alert(1)</script>"))
    assert "<script>" not in page
    assert "a&lt;b&gt;" in page


def test_right_and_wrong_differ_by_more_than_colour(make_record: MakeRecord) -> None:
    page = draw_report(make_record())
    for kind, sign in (("right", "✓"), ("wrong", "✕")):
        assert re.search(rf'class="picture {kind}">.*?aria-label="{kind}">{sign}<', page, re.DOTALL)


def test_a_run_without_held_out_classes_says_what_is_missing(make_record: MakeRecord) -> None:
    text = Outline(draw_report(make_record(examinations=(), calibration=None, matches=None, metrics=[]))).text
    for words in ("Nothing was measured", "This bundle has no calibration", "No step was logged", "no query to show"):
        assert words in text


def test_a_loss_without_parts_has_no_such_charts(make_record: MakeRecord) -> None:
    rows: list[dict[str, Any]] = [
        {"kind": "step", "epoch": 1, "step": 1, "loss": 0.5, "tightness": None, "contrast": None, "learning_rate": 0.1}
    ]
    text = Outline(draw_report(make_record(metrics=rows))).text
    assert "Loss" in text
    assert "Tightness" not in text


def test_classes_trained_on_are_never_the_ones_looked_at(make_record: MakeRecord, examination: Examination) -> None:
    record = make_record(examinations=(replace(examination, part="seen"),))
    assert record.shown == ()
    assert "Classes trained on" in draw_report(record)


def test_a_picture_that_is_gone_is_said(make_record: MakeRecord, examination: Examination, tmp_path: Path) -> None:
    pictures = tuple(replace(picture, path=tmp_path / "gone.jpg") for picture in examination.pictures)
    page = draw_report(make_record(examinations=(replace(examination, pictures=pictures),)))
    assert "the picture is gone" in page


def test_a_page_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_page("old", tmp_path / "report.html")

    def fail(_: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no room"):
        write_page("new", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium")
def test_a_browser_opens_it_from_the_disk(make_record: MakeRecord, tmp_path: Path) -> None:
    """Light and dark, wide and narrow: nothing is fetched, nothing complains, sticks out or is too faint."""
    sync_api = pytest.importorskip("playwright.sync_api")
    write_page(draw_report(make_record()), tmp_path / "report.html")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, java_script_enabled=True)
            page = context.new_page()
            complaints: list[str] = []
            fetched: list[str] = []
            page.on("console", lambda message, found=complaints: found.append(message.text))
            page.on("request", lambda request, found=fetched: found.append(request.url))
            page.goto((tmp_path / "report.html").as_uri())
            for width in (1280, 360):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert [url for url in fetched if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
            assert complaints == []
            assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert page.locator("svg[role=img]").count() >= 8
            assert page.evaluate(CONTRAST) >= 4.5
            context.close()
        browser.close()


# The least contrast of any text with the ground it stands on (WCAG 2.1), marks on pictures aside.
CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const texts = [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(
    n => n.nodeType === 3 && n.data.trim()) && e.getClientRects().length);
  return Math.min(...texts.map(e => { const s = getComputedStyle(e);
    const a = light(parse(e.namespaceURI.endsWith('svg') ? s.fill : s.color)), b = light(ground(e));
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }));
}"""
