"""A real service that asks for keys, on every address of this machine, and one on loopback, over real HTTP."""

from __future__ import annotations

import base64
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import crossmatch
from index.layout import Layout
from service.access.keys import create_key, revoke_key
from service.access.scopes import Scope, is_shell, needed_scope
from service.app import create_app
from service.settings import Settings
from tests.drawn_pictures import draw_picture
from tests.service.live_service import Started, expect_problem, run_crossmatch, serve

OPEN = {"/", "/static/page.js", "/static/page.css", "/static/swagger/swagger-ui.css", "/healthz", "/readyz"}


@dataclass(frozen=True)
class Guarded:
    """A service that asks for keys, with one of each scope."""

    client: httpx.Client
    layout: Layout
    keys: dict[Scope, str]
    started: Started

    def ask(self, method: str, path: str, scope: Scope | None, **request: Any) -> httpx.Response:
        """A request with a key of that scope, or none."""
        headers = dict(request.pop("headers", {}))
        if scope:
            headers["Authorization"] = f"Bearer {self.keys[scope]}"
        return self.client.request(method, path, headers=headers, **request)


@pytest.fixture(scope="module")
def guarded(drawn_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    layout = Layout(Path(shutil.copytree(drawn_index, folder / "own.index")))
    keys = {scope: create_key(layout, scope)[1] for scope in Scope}
    options = ["--host", "0.0.0.0", "--allowed-host", "search.example.com", "--cors-origin", "https://shop.example"]
    with serve(layout.folder, folder / "log", *options) as started:
        port = httpx.URL(started.url).port
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Guarded(client, layout, keys, started)
    log = (folder / "log").read_text()
    assert "Traceback" not in log
    assert not [key for key in keys.values() if key in log or key.split("_", 2)[2] in log]


def list_operations() -> list[tuple[str, str]]:
    """Every method and path of the application, ids filled in."""
    paths = create_app(Settings(Path("nowhere"))).openapi()["paths"]
    return [(method.upper(), path.replace("{id}", "1")) for path, methods in paths.items() for method in methods]


def test_without_a_key_nothing_but_the_shell_answers(guarded: Guarded) -> None:
    outside = [("GET", path) for path in ("/docs", "/openapi.json", "/metrics", "/nothing", "/static", "/v1")]
    for method, path in [*list_operations(), *outside]:
        if path in OPEN:
            continue
        response = guarded.ask(method, path, None)
        expect_problem(response, 401, "asks for a key")
        assert response.headers["www-authenticate"].startswith("Bearer ")
    for path in OPEN:
        assert guarded.ask("GET", path, None).status_code == 200, path


def test_the_description_says_how_to_send_a_key_and_which_scope(guarded: Guarded) -> None:
    document = guarded.ask("GET", "/openapi.json", Scope.READ).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            shell = is_shell(method.upper(), path)
            assert ("security" in operation) is not shell
            assert shell or {"401", "403", "421", "429"} <= set(operation["responses"])
            assert shell or operation["x-scope"] == needed_scope(method.upper(), path)


def test_strangers_get_a_bare_yes(guarded: Guarded) -> None:
    assert guarded.ask("GET", "/healthz", None).json() == {"status": "alive"}
    assert guarded.ask("GET", "/readyz", None).json() == {"status": "ready"}


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_does_what_its_scope_says(guarded: Guarded, scope: Scope) -> None:
    for method, path in list_operations():
        if is_shell(method, path) or path == "/v1/index/compact":
            continue
        response = guarded.ask(method, path, scope)
        needed = needed_scope(method, path)
        if scope.includes(needed):
            assert response.status_code not in (401, 403), (method, path)
        else:
            expect_problem(response, 403, f"a key of scope {needed}")
            assert f'scope="{needed}"' in response.headers["www-authenticate"]


def test_a_search_with_a_key_finds_and_shows_pictures(guarded: Guarded) -> None:
    found = guarded.ask("POST", "/v1/search?k=1", Scope.READ, files={"image": draw_picture("red")})
    [result] = found.json()["results"]
    assert result["label"] == "red"
    assert guarded.ask("GET", result["image_url"], Scope.READ).status_code == 200
    expect_problem(guarded.ask("GET", result["image_url"], None), 401)


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "Token x", "Basic !!", "Basic eA==", "bearer cmk_00000000_x", "\xff"]
)
def test_what_is_no_key_is_401(guarded: Guarded, header: str) -> None:
    response = guarded.client.get("/v1/index", headers={"Authorization": header.encode("latin-1")})
    expect_problem(response, 401)


def test_a_key_may_come_as_a_password(guarded: Guarded) -> None:
    text = base64.b64encode(f"anyone:{guarded.keys[Scope.READ]}".encode()).decode()
    assert guarded.client.get("/v1/index", headers={"Authorization": f"Basic {text}"}).status_code == 200
    asked = guarded.client.get("/docs", headers={"Accept": "text/html"})
    assert asked.headers["www-authenticate"].startswith("Basic ")


def test_a_key_in_the_address_is_none(guarded: Guarded) -> None:
    key = guarded.keys[Scope.READ]
    for name in ("key", "api_key", "access_token", "token"):
        expect_problem(guarded.client.get("/v1/index", params={name: key}), 401)


def test_keys_are_made_and_revoked_while_it_runs(guarded: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    index = ["--index", str(guarded.layout.folder)]
    assert crossmatch.run(["key", "create", "--scope", "read", *index]) == 0
    headers = {"Authorization": f"Bearer {capsys.readouterr().out.strip()}"}
    assert guarded.client.get("/v1/index", headers=headers).status_code == 200
    id_ = headers["Authorization"].split("_")[1]
    assert crossmatch.run(["key", "revoke", id_, *index]) == 0
    expect_problem(guarded.client.get("/v1/index", headers=headers), 401, "no key of this service")


def test_a_damaged_file_of_keys_closes_the_service_until_it_is_mended(guarded: Guarded) -> None:
    whole = guarded.layout.keys.read_bytes()
    guarded.layout.keys.write_bytes(b"{")
    try:
        expect_problem(guarded.ask("GET", "/v1/index", Scope.READ), 503, "log says why")
        for scope in (None, Scope.READ):
            assert guarded.ask("GET", "/healthz", scope).status_code == 200
    finally:
        guarded.layout.keys.write_bytes(whole)
    assert guarded.ask("GET", "/v1/index", Scope.READ).status_code == 200


def test_a_large_body_without_a_key_gets_its_answer(guarded: Guarded) -> None:
    response = guarded.ask("POST", "/v1/search", None, files={"image": bytes(20 * 2**20)})
    expect_problem(response, 401)


def test_it_is_called_by_its_names_alone(guarded: Guarded) -> None:
    for host, status in (("search.example.com", 200), ("192.0.2.7:80", 200), ("evil.example", 421), ("", 421)):
        response = guarded.ask("GET", "/v1/index", Scope.READ, headers={"Host": host})
        assert response.status_code == status, host
    expect_problem(response, 421, "--allowed-host")


def test_a_named_site_may_ask_and_is_told_so(guarded: Guarded) -> None:
    site = {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"}
    files = {"image": draw_picture("red")}
    response = guarded.ask("POST", "/v1/search", Scope.READ, headers=site, files=files)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://shop.example"
    preflight = guarded.ask(
        "OPTIONS",
        "/v1/search",
        None,
        headers={**site, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"},
    )
    assert preflight.status_code == 200
    refused = guarded.ask("GET", "/v1/index", None, headers=site)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://shop.example")
    other = guarded.ask("POST", "/v1/search", Scope.READ, headers={"Origin": "https://evil.example"}, files=files)
    expect_problem(other, 403, "another web site", "--cors-origin")
    assert "access-control-allow-origin" not in other.headers


# On loopback, without keys


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "192.168.1.5", "localhost.evil.example"])
def test_a_name_that_was_bound_again_gets_no_answer(client: httpx.Client, host: str) -> None:
    for path in ("/", "/v1/index", "/healthz", "/v1/items/1/image", "/static/page.js"):
        expect_problem(client.get(path, headers={"Host": host}), 421, "not called that")


def test_a_request_without_a_host_gets_no_answer(client: httpx.Client) -> None:
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(b"GET /v1/index HTTP/1.0\r\n\r\n")
        assert b" 421 " in connection.recv(200)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/search"), ("POST", "/v1/items"), ("DELETE", "/v1/items/1"), ("POST", "/nothing")]
)
def test_another_site_may_not_post(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> None:
    request = {"files": {"image": draw_picture("red")}} if method == "POST" else {}
    expect_problem(client.request(method, path, headers=headers, **request), 403, "another web site")  # type: ignore[arg-type]


def test_cors_is_off_by_itself(client: httpx.Client) -> None:
    response = client.get("/v1/index", headers={"Origin": "https://shop.example"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/v1/index", "/v1/items/1/image", "/none", "/static/page.js"]
)
def test_every_answer_says_what_a_browser_must_not_do(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert re_script(policy) in ("'self'", "'none'")


def re_script(policy: str) -> str:
    """Where scripts may come from."""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    return rules.get("script-src", rules["default-src"])


# Starting


def test_a_network_without_keys_is_refused(drawn_index: Path) -> None:
    code, out, err = run_crossmatch("serve", "--index", drawn_index, "--host", "0.0.0.0", "--port", 0)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "crossmatch key create" in err
    assert "--allow-open" in err


def test_an_open_service_still_checks_names_and_sites(drawn_index: Path, tmp_path: Path) -> None:
    with (
        serve(drawn_index, tmp_path / "log", "--host", "0.0.0.0", "--allow-open", "--rate", "1", "--burst", "3") as one,
        httpx.Client(base_url=f"http://127.0.0.1:{httpx.URL(one.url).port}") as client,
    ):
        expect_problem(client.get("/v1/index", headers={"Host": "evil.example"}), 421)
        expect_problem(client.post("/v1/search", headers={"Origin": "https://evil.example"}), 403)
        statuses = [client.get("/v1/index").status_code for _ in range(6)]
        assert statuses[:3] == [200, 200, 200]
        limited = client.get("/v1/index")
        expect_problem(limited, 429, "1 a second, at most 3 at once")
        assert int(limited.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200  # never limited
        assert client.get("/static/page.css").status_code == 200


def test_keys_on_loopback_where_they_are_asked_for(drawn_index: Path, tmp_path: Path) -> None:
    layout = Layout(Path(shutil.copytree(drawn_index, tmp_path / "own.index")))
    key, text = create_key(layout, Scope.READ)
    with serve(layout.folder, tmp_path / "log", "--require-key") as one, httpx.Client(base_url=one.url) as client:
        expect_problem(client.get("/v1/index"), 401)
        assert client.get("/v1/index", headers={"Authorization": f"Bearer {text}"}).status_code == 200
        revoke_key(layout, key.id)
        expect_problem(client.get("/v1/index", headers={"Authorization": f"Bearer {text}"}), 401)
