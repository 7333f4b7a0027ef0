"""The search page of a service that asks for a key, in a real, headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from index.layout import Layout
from service.access.keys import create_key, revoke_key
from service.access.scopes import Scope
from tests.drawn_pictures import draw_picture
from tests.service.live_service import serve

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]


@dataclass(frozen=True)
class Locked:
    """A page of a service that asks for keys, which addresses it asked, and what its console complained about."""

    page: Page
    layout: Layout
    addresses: list[str]
    complaints: list[str]

    def give(self, key: str) -> None:
        self.page.get_by_label("Key", exact=True).fill(key)
        self.page.get_by_role("button", name="Continue").click()


@pytest.fixture
def locked(drawn_index: Path, tmp_path: Path) -> Iterator[Locked]:
    layout = Layout(Path(shutil.copytree(drawn_index, tmp_path / "own.index")))
    create_key(layout, Scope.ADMIN)  # or the service would not start
    with serve(layout.folder, tmp_path / "log", "--require-key") as started, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(base_url=started.url)
        page.set_default_timeout(10_000)
        addresses: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda one: complaints.append(one.text) if "401" not in one.text else None)
        yield Locked(page, layout, addresses, complaints)
        browser.close()
    assert complaints == []


def test_the_page_asks_once_and_then_works_with_the_key(locked: Locked) -> None:
    key, text = create_key(locked.layout, Scope.READ)
    page = locked.page
    page.goto("/")
    expect(page.get_by_role("heading", name="This service asks for a key")).to_be_visible()
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator(".intro")).to_be_hidden()
    locked.give("cmk_00000000_wrong")
    expect(page.get_by_role("alert").filter(has_text="not known here")).to_be_visible()
    locked.give(f" {text} ")
    expect(page.locator("#lock")).to_be_hidden()
    expect(page.locator("#size")).to_have_text("24 pictures")
    expect(page.locator("#strip img").first).not_to_have_js_property("naturalWidth", 0)
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": draw_picture("red")})
    page.locator('#answer[aria-busy="false"]').wait_for()
    expect(page.locator("#grid .title").first).to_have_text("red")
    for number in (0, 23):
        expect(page.locator("#grid img").nth(number)).not_to_have_js_property("naturalWidth", 0)
    expect(page.locator("#curl")).to_contain_text("Authorization: Bearer $CROSSMATCH_KEY")
    assert text not in page.content()
    assert not [address for address in locked.addresses if "cmk_" in address]
    page.reload()  # the tab remembers
    expect(page.locator("#size")).to_have_text("24 pictures")
    expect(page.locator("#lock")).to_be_hidden()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    revoke_key(locked.layout, key.id)
    page.locator("#strip button, #grid button").first.click()
    expect(page.get_by_role("heading", name="This service asks for a key")).to_be_visible()
    locked.give(create_key(locked.layout, Scope.READ)[1])  # and what was asked for goes on
    page.locator('#answer[aria-busy="false"]').wait_for()
    expect(page.locator("#grid .title")).to_have_count(24)


def test_a_key_can_be_pasted(locked: Locked) -> None:
    _, text = create_key(locked.layout, Scope.READ)
    page = locked.page
    page.goto("/")
    page.get_by_label("Key", exact=True).focus()
    page.evaluate(
        """(text) => {
            const data = new DataTransfer();
            data.setData("text/plain", text);
            const event = new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: data });
            if (document.activeElement.dispatchEvent(event)) document.execCommand("insertText", false, text);
        }""",
        text,
    )
    page.keyboard.press("Enter")
    expect(page.locator("#size")).to_have_text("24 pictures")
    expect(page.locator("#problem")).to_be_hidden()


def test_the_documentation_takes_the_key_as_a_password(locked: Locked) -> None:
    _, text = create_key(locked.layout, Scope.READ)
    browser = locked.page.context.browser
    assert browser is not None
    locked.page.goto("/healthz")
    context = browser.new_context(
        base_url=locked.page.url.removesuffix("/healthz"), http_credentials={"username": "", "password": text}
    )
    page = context.new_page()
    page.goto("/docs")
    expect(page.get_by_text("Find the items that look most like")).to_be_visible(timeout=15_000)
    context.close()
