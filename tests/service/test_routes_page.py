"""Addresses outside the API proper: the API's documentation without a network, and those where nothing is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.service.live_service import LiveService, expect_problem

CHROMIUM = Path("/usr/bin/chromium")


def list_references(document: object) -> list[str]:
    """Every `$ref` in a JSON document."""
    if isinstance(document, dict):
        own = [document["$ref"]] if isinstance(document.get("$ref"), str) else []
        return own + [each for value in document.values() for each in list_references(value)]
    if isinstance(document, list):
        return [each for value in document for each in list_references(value)]
    return []


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_another_host(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href|action)=["'](?:https?:)?//""", page.text)
    addresses = re.findall(r"""(?:src|href)=["']([^"'#]+\.(?:js|css|svg))["']""", page.text)
    assert len(addresses) >= 3
    for address in addresses:
        part = client.get(httpx.URL(path).join(address))
        assert part.status_code == 200, address
        if address.endswith("css"):
            assert not re.findall(r"@import|url\(\s*[\"']?(?:https?:)?//", part.text)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")
def test_the_documentation_shows_itself_without_a_network(live_service: LiveService) -> None:
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{live_service.url}/docs")
        expect(page.get_by_text("Find the items that look most like")).to_be_visible(timeout=15_000)
        browser.close()
    strangers = [url for url in asked if not url.startswith((live_service.url, "data:", "blob:"))]
    assert strangers == []


def test_the_description_holds_together(client: httpx.Client) -> None:
    description: dict[str, Any] = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    for reference in list_references(description):
        node: Any = description
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node
    operations = [entry for path in description["paths"].values() for entry in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) >= 7


def test_the_description_names_every_problem_as_a_problem(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    expected = {
        ("/v1/search", "post"): {"200", "404", "408", "410", "413", "415", "422", "429", "503"},
        ("/v1/items/{id}/image", "get"): {"200", "304", "404", "410", "422", "503"},
        ("/v1/items/{id}/thumbnail", "get"): {"200", "304", "404", "410", "422", "503"},
        ("/v1/examples", "get"): {"200", "422", "503"},
        ("/v1/index", "get"): {"200", "422", "503"},
        ("/readyz", "get"): {"200", "503"},
        ("/healthz", "get"): {"200"},
    }
    access = {"401", "403", "421", "429"}  # which any route may answer
    for (path, method), statuses in expected.items():
        assert set(paths[path][method]["responses"]) - access == statuses - access
        assert "421" in paths[path][method]["responses"]
    for path, method in expected:
        for status, response in paths[path][method]["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"]
                fields = response["content"]["application/problem+json"]["schema"]["properties"]
                assert set(fields) == {"type", "title", "status", "detail"}
    form = paths["/v1/search"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image"]["items"]["format"] == "binary"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1",
        "/v1/search/",
        "/v1/items/1/",
        "/v1/items/1/image/",
        "/static/",
        "/static/none.js",
        "/static/%00",
        "/static/%ff",
        "/static/..%2f..%2fapp.py",
        "/static/../app.py",
        "/static/swagger/..%2f..%2f__init__.py",
        "/static/" + "a" * 300,
        "/" + "a" * 5000,
        "/redoc",
    ],
)
def test_an_unknown_address_is_a_problem(client: httpx.Client, path: str) -> None:
    expect_problem(client.get(path), 404, "nothing at this address")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/search", "POST"),
        ("DELETE", "/v1/search", "POST"),
        ("POST", "/v1/index", "GET"),
        ("PUT", "/v1/items/1/image", "GET"),
        ("PURGE", "/readyz", "GET"),
        ("POST", "/", "GET"),
    ],
)
def test_a_method_that_is_not_taken_is_a_problem(client: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)
    expect_problem(response, 405, "method")
    assert response.headers["allow"] == allowed


def test_nothing_redirects_to_a_host_that_the_client_named(client: httpx.Client) -> None:
    for path in ("/docs/", "/v1/index/", "/static"):
        response = client.get(path, headers={"Host": "elsewhere.example"})
        assert "elsewhere" not in response.headers.get("location", ""), path
