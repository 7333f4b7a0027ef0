"""The search page in a real, headless Chromium, against a real running service (the fixture `live_service`).

Every test also fails on an error in the browser's console and on a request to any other host.
What may change here: the words and selectors, along with service/static/.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.service.page_contrast import check_contrasts, colours_of

CHROMIUM = Path("/usr/bin/chromium")
STRICT_POLICY = "default-src 'self'; img-src 'self' blob: data:"
HOSTILE = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>'
INDEX = {
    "generation": "g1",
    "model": "0123456789abcdef",
    "size": 24,
    "recall": 1.0,
    "building": None,
    "attribution": None,
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]


class LiveService(Protocol):
    """What the fixture `live_service` yields."""

    url: str
    pictures: tuple[Path, ...]


@dataclass(frozen=True)
class Visit:
    """A page, and what went wrong on it so far."""

    page: Page
    errors: list[str]

    def forgive_failed_loads(self) -> None:
        """Drops the console's own lines about a refused request, in tests that provoke one."""
        self.errors[:] = [line for line in self.errors if "Failed to load resource" not in line]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, live_service: LiveService) -> Iterator[Visit]:
    """A fresh page at the service's address; nothing is loaded yet."""
    context = browser.new_context(base_url=live_service.url, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(10_000)
    visit = Visit(page, watch(page, (live_service.url, "blob:", "data:")))
    yield visit
    context.close()
    assert visit.errors == []


def watch(page: Page, allowed: tuple[str, ...]) -> list[str]:
    """A list that grows with each error on the page, and each request to an address outside `allowed`."""
    errors: list[str] = []

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def note_request(request: Request) -> None:
        if not request.url.startswith(allowed):
            errors.append(f"a request left for {request.url}")

    page.on("console", note_message)
    page.on("request", note_request)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def search_by(page: Page, action: Callable[[], object]) -> dict[str, Any]:
    """Does `action`, which starts a search, and returns the service's answer once the page shows it."""
    with page.expect_response(lambda response: "/v1/search" in response.url) as caught:
        action()
    page.locator('#answer[aria-busy="false"]').wait_for()
    answer: dict[str, Any] = caught.value.json()
    return answer


def expect_picture(page: Page, selector: str) -> None:
    """Waits until the image has arrived and could be decoded."""
    expect(page.locator(selector)).not_to_have_js_property("naturalWidth", 0)


def shown_results(page: Page) -> list[tuple[str, float]]:
    """Title and score of each card, in the page's order."""
    titles = page.locator("#grid .title").all_text_contents()
    scores = page.locator("#grid .score").all_text_contents()
    return [(title, float(score)) for title, score in zip(titles, scores, strict=True)]


def hand_over(page: Page, way: Literal["drop", "paste"], name: str, content: bytes | None) -> None:
    """Drops or pastes a file, or a line of text where `content` is None, as the browser would."""
    page.evaluate(
        """([way, name, content]) => {
            const data = new DataTransfer();
            if (content === null) data.setData("text/plain", name);
            else {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                data.items.add(new File([bytes], name, { type: "image/png" }));
            }
            const said = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(way === "drop"
                ? new DragEvent("drop", { ...said, dataTransfer: data })
                : new ClipboardEvent("paste", { ...said, clipboardData: data }));
        }""",
        [way, name, None if content is None else base64.b64encode(content).decode()],
    )


def answer_with(page: Page, path: str, body: dict[str, Any]) -> None:
    """From now on `path` answers with `body` instead of the service's words."""
    page.route(re.compile(re.escape(path)), lambda route: route.fulfill(json=body))


def test_the_start_page_offers_samples_of_the_index(visit: Visit, live_service: LiveService) -> None:
    page = visit.page
    page.goto("/")
    expect(page.locator("#size")).to_have_text(f"{len(live_service.pictures)} pictures")
    samples = page.locator("#strip button")
    expect(samples).to_have_count(12)
    expect_picture(page, "#strip img >> nth=11")
    answer = search_by(page, samples.nth(5).click)
    assert answer["results"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    expect(page).to_have_url(re.compile(r"\?item=\d+$"))


def test_a_picked_file_shows_what_the_service_answered(visit: Visit, live_service: LiveService) -> None:
    page, picture = visit.page, live_service.pictures[3]
    page.goto("/")
    answer = search_by(page, lambda: page.get_by_label("Choose a picture").set_input_files(picture))
    shown = shown_results(page)
    assert len(shown) == len(answer["results"]) == min(24, len(live_service.pictures))
    assert [title for title, _ in shown] == [result["label"] or result["key"] for result in answer["results"]]
    scores = [score for _, score in shown]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([result["score"] for result in answer["results"]], abs=0.0051)
    expect(page.locator("#query-name")).to_have_text(picture.name)
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^\d+ pictures in [\d.]+ m?s$"))
    expect_picture(page, "#query-image")
    expect_picture(page, "#grid img >> nth=0")


def test_a_result_searches_by_itself_and_back_returns(visit: Visit, live_service: LiveService) -> None:
    page, picture = visit.page, live_service.pictures[0]
    page.goto("/")
    first = search_by(page, lambda: page.locator("#file").set_input_files(picture))
    chosen = first["results"][-1]
    second = search_by(page, page.locator("#grid button").last.click)
    assert second["results"] != first["results"]
    expect(page).to_have_url(re.compile(rf"\?item={chosen['id']}$"))
    expect(page.locator('#grid [aria-current="true"]')).to_have_count(1)
    expect(page.locator("#answer-title")).to_be_focused()
    assert search_by(page, page.go_back)["results"] == first["results"]
    expect(page.locator("#query-name")).to_have_text(picture.name)
    assert search_by(page, page.go_forward)["results"] == second["results"]
    assert search_by(page, page.reload)["results"] == second["results"]
    page.get_by_role("link", name="Crossmatch").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#answer")).to_be_hidden()


def test_a_picture_the_browser_cannot_show_is_shown_by_its_thumbnail(visit: Visit, live_service: LiveService) -> None:
    page, tiff = visit.page, io.BytesIO()
    Image.open(live_service.pictures[0]).convert("RGB").save(tiff, "TIFF")
    page.route("**/v1/items/1/image", lambda route: route.fulfill(body=tiff.getvalue(), content_type="image/tiff"))
    assert search_by(page, lambda: page.goto("/?item=1"))["results"]
    expect(page.locator("#query-image")).to_have_attribute("src", "v1/items/1/thumbnail")
    expect_picture(page, "#query-image")


def test_an_address_that_names_no_item_says_so(visit: Visit) -> None:
    page = visit.page
    with page.expect_response(re.compile("/v1/items/999999/image")) as caught:
        page.goto("/?item=999999")
    expect(page.get_by_role("alert")).to_have_text(caught.value.json()["detail"])
    visit.forgive_failed_loads()


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(
    visit: Visit, live_service: LiveService, way: Literal["drop", "paste"]
) -> None:
    page, picture = visit.page, live_service.pictures[2]
    page.goto("/")
    answer = search_by(page, lambda: hand_over(page, way, picture.name, picture.read_bytes()))
    assert answer["results"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert len(shown_results(page)) == len(answer["results"])


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_handing_over_text_explains_what_to_do(visit: Visit, way: Literal["drop", "paste"]) -> None:
    visit.page.goto("/")
    hand_over(visit.page, way, "only words", None)
    expect(visit.page.get_by_role("alert")).to_contain_text("picture")


def test_a_bad_file_shows_the_problem_and_a_good_one_clears_it(visit: Visit, live_service: LiveService) -> None:
    page = visit.page
    page.goto("/")
    with page.expect_response(re.compile("/v1/search")) as caught:
        hand_over(page, "drop", "bad.png", b"this is no picture")
    assert 400 <= caught.value.status < 500
    assert caught.value.headers["content-type"].startswith("application/problem+json")
    expect(page.get_by_role("alert")).to_have_text(caught.value.json()["detail"])
    expect(page.locator("#grid .card")).to_have_count(0)
    visit.forgive_failed_loads()
    search_by(page, lambda: page.locator("#file").set_input_files(live_service.pictures[0]))
    expect(page.locator("#problem")).to_be_empty()


def test_a_service_that_went_away_can_be_tried_again(visit: Visit, live_service: LiveService) -> None:
    page = visit.page
    page.goto("/")
    page.route("**/v1/search*", lambda route: route.abort())
    page.locator("#file").set_input_files(live_service.pictures[0])
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    visit.forgive_failed_loads()
    page.unroute("**/v1/search*")
    search_by(page, page.get_by_role("button", name="Try again").click)
    expect(page.locator("#problem")).to_be_empty()


def test_hostile_labels_keys_and_names_stay_text(visit: Visit, live_service: LiveService) -> None:
    page = visit.page
    item = {"id": 1, "key": HOSTILE, "label": HOSTILE, "score": 0.5, "metadata": {}, "image_url": "/v1/items/1/image"}
    answer_with(page, "/v1/index", {**INDEX, "attribution": HOSTILE})
    answer_with(page, "/v1/examples", {"items": [item]})
    answer_with(page, "/v1/search", {"results": [item, {**item, "id": 2}], "index": INDEX, "took_ms": 1.0})
    page.goto("/")
    search_by(page, lambda: hand_over(page, "drop", HOSTILE, live_service.pictures[0].read_bytes()))
    for selector in ("#query-name", "#grid .title >> nth=0", "#grid .key >> nth=0", "#attribution"):
        expect(page.locator(selector)).to_have_text(HOSTILE)
    assert page.locator("[onerror], [src=x], body script").count() == 0
    assert page.evaluate("window.hacked") is None


def test_the_page_works_under_a_strict_content_security_policy(visit: Visit, live_service: LiveService) -> None:
    page = visit.page
    response = page.goto("/")
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert policy.startswith(STRICT_POLICY)
    assert "unsafe" not in policy
    search_by(page, lambda: page.locator("#file").set_input_files(live_service.pictures[0]))
    expect_picture(page, "#query-image")
    assert page.locator(".gauge span").first.bounding_box() == pytest.approx(
        page.locator(".gauge").first.bounding_box(), rel=0.02
    )


def test_the_progress_of_indexing_is_shown_until_it_ends(visit: Visit) -> None:
    page = visit.page
    progress: list[dict[str, int] | None] = [{"done": 700, "total": 4009}, None]
    page.route("**/v1/index", lambda route: route.fulfill(json={**INDEX, "building": progress[0]}))
    page.goto("/")
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_js_property("value", 700)
    expect(page.locator("#building-text")).to_contain_text("700 of 4,009 pictures")
    progress.pop(0)
    expect(bar).to_be_hidden(timeout=3000)


def test_an_empty_index_says_how_to_fill_it(visit: Visit) -> None:
    page = visit.page
    answer_with(page, "/v1/index", {**INDEX, "size": 0})
    answer_with(page, "/v1/examples", {"items": []})
    page.goto("/")
    expect(page.get_by_role("heading", name="This index has no pictures yet")).to_be_visible()
    expect(page.locator("#samples")).to_be_hidden()


def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    page = visit.page
    page.goto("/")
    page.locator("#strip button").first.wait_for()
    for _ in range(3):  # the home link, the API link, the file input
        page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    assert page.locator(".button").evaluate("(label) => getComputedStyle(label).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert search_by(page, lambda: page.keyboard.press("Enter"))["results"]
    page.keyboard.press("Tab")
    expect(page.locator("#grid button").first).to_be_focused()


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("size", [(192, 256), (256, 90), (40, 256)])
def test_tiles_are_square_whatever_the_pictures_shape(
    visit: Visit, live_service: LiveService, width: int, size: tuple[int, int]
) -> None:
    page, thumbnail = visit.page, io.BytesIO()
    Image.new("RGB", size, "olive").save(thumbnail, "JPEG")
    page.route("**/thumbnail", lambda route: route.fulfill(body=thumbnail.getvalue(), content_type="image/jpeg"))
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/")
    expect(page.locator("#strip img").first).to_have_js_property("naturalHeight", size[1])
    check_tiles(page, "#strip .thumb")
    search_by(page, lambda: page.locator("#file").set_input_files(live_service.pictures[0]))
    expect(page.locator("#grid img").first).to_have_js_property("naturalHeight", size[1])
    check_tiles(page, "#grid .thumb")


def check_tiles(page: Page, selector: str) -> None:
    """Each tile is a square, and its picture fills it and no more."""
    boxes = page.locator(selector).evaluate_all(
        """(tiles) => tiles.map((tile) => [tile, tile.querySelector("img")].flatMap((element) => {
            const { width, height } = element.getBoundingClientRect();
            return [width, height];
        }))"""
    )
    assert len(boxes) >= 12
    for width, height, *picture in boxes:
        assert [height, *picture] == pytest.approx([width] * 3, abs=0.5)


def test_the_probability_is_shown_only_where_there_is_one(visit: Visit, live_service: LiveService) -> None:
    page = visit.page
    item = {"id": 1, "key": "a/b.png", "label": "a", "score": 0.5, "metadata": {}, "image_url": "/v1/items/1/image"}
    results = [{**item, "id": 1 + number, "probability": value} for number, value in enumerate([0.874, 0.0, None])]
    answer_with(page, "/v1/search", {"results": results, "index": INDEX, "took_ms": 1.0})
    page.goto("/")
    search_by(page, lambda: page.locator("#file").set_input_files(live_service.pictures[0]))
    cards = page.locator("#grid .card")
    expect(cards.nth(0).locator(".likely")).to_have_text("87% likely")
    expect(cards.nth(1).locator(".likely")).to_have_text("0% likely")
    expect(cards.nth(2).locator(".likely")).to_have_count(0)
    check_contrasts(page, [".likely"])


def test_nothing_sticks_out_at_360_pixels(visit: Visit, live_service: LiveService) -> None:
    page = visit.page
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/")
    page.locator("#strip button").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    search_by(page, lambda: page.locator("#file").set_input_files(live_service.pictures[0]))
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_text_has_contrast_in_both_schemes(
    visit: Visit, live_service: LiveService, scheme: Literal["light", "dark"], dark: bool
) -> None:
    page = visit.page
    page.emulate_media(color_scheme=scheme)
    answer_with(page, "/v1/index", {**INDEX, "building": {"done": 1, "total": 2}, "attribution": "Drawn by a test."})
    page.goto("/")
    start = ["h1", ".intro p", ".button", ".ways", "kbd", "#samples-title", "nav a", "#size", "#building-text"]
    check_contrasts(page, [*start, "#attribution", ".facts dt", ".facts dd"])
    search_by(page, lambda: page.locator("#file").set_input_files(live_service.pictures[0]))
    search_by(page, page.locator("#grid button").nth(1).click)
    hand_over(page, "paste", "only words", None)
    results = ["#answer-title", "#summary", ".title", ".score", ".key", ".same", ".eyebrow", "#query-name", "summary"]
    check_contrasts(page, [*results, "#problem p"])
    assert (sum(colours_of(page, "h1")[1]) < 3 * 128) is dark
