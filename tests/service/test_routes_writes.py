"""Items over HTTP: added, changed and removed for good, each seen by the next search and by another process."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.bundle import Bundle
from index.item_changes import merge_patch
from index.searcher import Searcher
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import build
from tests.service.live_service import expect_problem, search, serve

RED, BLUE = draw_picture("red", 50), draw_picture("blue", 50)


@pytest.fixture(scope="module")
def folder(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that the tests of this module write to; its first items come from a source."""
    place = tmp_path_factory.mktemp("writes")
    build(write_drawn_pictures(place / "source", ["green"], per_label=3), tiny_bundle, place / "index")
    return place / "index"


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    log = folder.parent / "log"
    with serve(folder, log) as service, httpx.Client(base_url=service.url, timeout=30) as opened:
        yield opened
    assert "Traceback" not in log.read_text()


def add(client: httpx.Client, key: str, data: bytes = RED, replace: bool = False, **fields: Any) -> httpx.Response:
    form = {"key": key, **fields}
    return client.post("/v1/items", params={"replace": replace}, data=form, files={"image": data})


def make_part(filename: str, data: bytes) -> bytes:
    """A file `image`, with the boundary `b` before it."""
    disposition = f'Content-Disposition: form-data; name="image"; filename="{filename}"'
    return f"--b\r\n{disposition}\r\n\r\n".encode() + data + b"\r\n"


def keys_of(folder: Path) -> set[str]:
    """As another process sees it."""
    with Searcher(folder) as searcher:
        return {item.key for item in searcher.iterate_items()}


def test_an_item_is_added_found_and_there_for_others(client: httpx.Client, folder: Path) -> None:
    response = add(client, "ä/1", label="red", metadata='{"n": [1, null, {"x": 2.5}]}')
    assert response.status_code == 201
    item = response.json()
    assert (item["key"], item["label"], item["version"]) == ("ä/1", "red", 1)
    assert item["metadata"] == {"n": [1, None, {"x": 2.5}]}
    assert response.headers["location"] == f"/v1/items/{item['id']}"
    assert response.headers["etag"] == '"1"'
    assert search(client, RED, 1)["results"][0]["id"] == item["id"]
    assert "ä/1" in keys_of(folder)
    read = client.get(response.headers["location"])
    assert (read.json(), read.headers["etag"]) == (item, '"1"')
    assert client.get(f"/v1/items/{item['id']}/thumbnail").status_code == 200
    assert client.get("/v1/items", params={"key": "ä/1"}).json() == {"items": [item], "next_cursor": None}


def test_again_and_other_content(client: httpx.Client) -> None:
    first = add(client, "again", label="a", metadata='{"x": 1}').json()
    for fields in ({"label": "a", "metadata": '{"x": 1}'}, {"label": "a"}, {}):
        same = add(client, "again", **fields)
        assert (same.status_code, same.json()) == (200, first)
    for data, fields in ((BLUE, {}), (RED, {"label": "b"}), (RED, {"metadata": "{}"})):
        expect_problem(add(client, "again", data, **fields), 409, "other content", "replace=true")
    assert client.get(f"/v1/items/{first['id']}").json() == first
    relabelled = add(client, "again", RED, True, label="b")
    assert relabelled.status_code == 200
    assert relabelled.json() == {**first, "label": "b", "metadata": {}, "version": 2}
    replaced = add(client, "again", BLUE, True, label="b").json()
    assert (replaced["id"], replaced["version"]) == (first["id"], 3)
    assert search(client, BLUE, 1)["results"][0]["key"] == "again"


def test_what_a_source_brought_keeps_its_picture(client: httpx.Client) -> None:
    expect_problem(add(client, "green/green-0.png", RED, True), 409, "a source brought")
    source = client.get("/v1/items", params={"key": "green/green-0.png"}).json()["items"][0]
    expect_problem(client.patch(f"/v1/items/{source['id']}", json={"key": "mine"}), 422, "a source brought")
    assert client.patch(f"/v1/items/{source['id']}", json={"label": "mine"}).json()["label"] == "mine"


def test_a_change_and_versions(client: httpx.Client) -> None:
    item = add(client, "change", label="a", metadata='{"keep": 1, "go": 2, "deep": {"a": 1, "b": 2}}').json()
    url = f"/v1/items/{item['id']}"
    patch = {"metadata": {"go": None, "deep": {"b": None, "c": [1]}, "new": "é"}}
    changed = client.patch(url, json=patch, headers={"If-Match": '"1"'})
    assert changed.status_code == 200
    assert changed.headers["etag"] == '"2"'
    assert changed.json()["metadata"] == {"keep": 1, "deep": {"a": 1, "c": [1]}, "new": "é"}
    expect_problem(client.patch(url, json={"label": "b"}, headers={"If-Match": '"1"'}), 412, "version 2")
    expect_problem(client.patch(url, json={"label": "b"}, headers={"If-Match": 'W/"2"'}), 412)
    expect_problem(client.delete(url, headers={"If-Match": '"1", "7"'}), 412)
    assert client.patch(url, json={}, headers={"If-Match": '"2"'}).json()["version"] == 2  # nothing to change
    merge = {"Content-Type": "application/merge-patch+json", "If-Match": '"9", "2"'}
    assert client.patch(url, content=b'{"label": null, "key": "changed"}', headers=merge).json() == {
        **changed.json(),
        "label": None,
        "key": "changed",
        "version": 3,
    }
    assert client.get(url, headers={"If-None-Match": '"3"'}).status_code == 304
    assert client.get(url, headers={"If-None-Match": '"2"'}).status_code == 200
    add(client, "other")
    expect_problem(client.patch(url, json={"key": "other"}), 409, "another item's")
    assert client.patch(url, json={"metadata": None}, headers={"If-Match": "*"}).json()["metadata"] == {}


def test_a_removal(client: httpx.Client, folder: Path) -> None:
    item = add(client, "remove").json()
    url = f"/v1/items/{item['id']}"
    gone = client.delete(url, headers={"If-Match": '"1"'})
    assert (gone.status_code, gone.content) == (204, b"")
    for response in (client.get(url), client.delete(url), client.patch(url, json={}), client.get(f"{url}/image")):
        expect_problem(response, 404, "no such item")
    assert "remove" not in keys_of(folder)
    assert item["id"] not in [one["id"] for one in search(client, RED, 1000)["results"]]
    assert add(client, "remove").json()["id"] > item["id"]


def test_one_of_many_who_change_one_version_wins(client: httpx.Client) -> None:
    item = add(client, "race").json()

    def change(label: int) -> int:
        headers = {"If-Match": '"1"'}
        return client.patch(f"/v1/items/{item['id']}", json={"label": str(label)}, headers=headers).status_code

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(change, range(8))) == [200] + [412] * 7


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "no field `key`"),
        ({"key": ""}, "wrong length"),
        ({"key": "k" * 1001}, "1 to 1000 characters, found 1001"),
        ({"key": "a\0b"}, "can not be kept"),
        ({"key": "k", "label": "x" * 1001}, "`label`"),
        ({"key": "k", "metadata": "{"}, "no JSON"),
        ({"key": "k", "metadata": "[]"}, "no object"),
        ({"key": "k", "metadata": '{"x": NaN}'}, "no JSON"),
        ({"key": "k", "metadata": '{"x": 1e999}'}, "too large"),
        ({"key": "k", "metadata": '{"x": "\\ud800"}'}, "can not be kept"),
        ({"key": "k", "metadata": '{"\\u0000": 1}'}, "can not be kept"),
        ({"key": "k", "metadata": '{"x": ' + "[" * 21 + "]" * 21 + "}"}, "too deep"),
        ({"key": "k", "metadata": "[" * 30000}, "no JSON"),
        ({"key": "k", "metadata": '{"x": "' + "é" * 32765 + '"}'}, "too"),
    ],
)
def test_a_bad_field_is_refused(client: httpx.Client, fields: dict[str, str], words: str) -> None:
    response = client.post("/v1/items", data=fields, files={"image": RED})
    assert response.status_code in (413, 422)
    expect_problem(response, response.status_code, words)


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"{}", "text/plain", 415, "not JSON"),
        (b"", "application/json", 422, "no JSON"),
        (b"[]", "application/json", 422, "no object"),
        (b'{"labels": 1}', "application/json", 422, "did you mean `label`"),
        (b'{"label": 1}', "application/json", 422, "`label` is no text"),
        (b'{"key": null}', "application/json", 422, "`key` is no text"),
        (b'{"key": "\\ud83d"}', "application/json", 422, "can not be kept"),
        (b'{"metadata": [1]}', "application/json", 422, "no object"),
        (b'{"metadata": {"x": "\xff"}}', "application/json", 422, "no JSON"),
        (b'{"metadata": {"x": ' + b"1" * 5000 + b"}}", "application/json", 422, "no JSON"),
        (b"[" * 200_000, "application/json", 422, "no JSON"),
        (b" " * 300_000, "application/json", 413, "too many bytes"),
    ],
)
def test_a_bad_change_is_refused(client: httpx.Client, body: bytes, kind: str, status: int, words: str) -> None:
    [item] = client.get("/v1/items", params={"limit": 1}).json()["items"]
    response = client.patch(f"/v1/items/{item['id']}", content=body, headers={"Content-Type": kind})
    expect_problem(response, status, words)
    assert client.get(f"/v1/items/{item['id']}").json() == item


def test_a_bad_picture_leaves_nothing(client: httpx.Client, folder: Path) -> None:
    expect_problem(add(client, "bad", b"hello"), 415)
    expect_problem(add(client, "bad", RED[:200]), 422)
    expect_problem(add(client, "bad", b""), 422, "empty")
    assert "bad" not in keys_of(folder)


def test_pages_of_the_list_are_the_list(client: httpx.Client) -> None:
    whole = client.get("/v1/items", params={"limit": 1000}).json()
    assert whole["next_cursor"] is None
    pages, cursor = [], None
    while True:
        page = client.get("/v1/items", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        pages += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert pages == whole["items"]
    expect_problem(client.get("/v1/items", params={"cursor": "x"}), 422, "not a cursor")


class TestBatch:
    """Many items in one stream."""

    def post(self, client: httpx.Client, parts: list[tuple[str, Any]], **params: Any) -> list[dict[str, Any]]:
        response = client.post("/v1/items/batch", files=parts, params=params)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in response.text.splitlines()]

    def test_each_gets_its_own_answer_in_order(self, client: httpx.Client, folder: Path) -> None:
        pictures = [draw_picture("yellow", number) for number in range(60, 72)]
        parts: list[tuple[str, Any]] = []
        for number, data in enumerate(pictures):
            parts += [("key", (None, f"bulk/{number}")), ("metadata", (None, json.dumps({"n": number})))]
            parts.append(("image", ("x.png", data)))
        parts += [("image", ("note.txt", b"hello")), ("key", (None, "")), ("image", ("x", RED))]
        parts += [("label", (None, "named")), ("image", ("by-name.png", RED))]
        lines = self.post(client, parts)
        assert [line["number"] for line in lines] == list(range(1, 16))
        assert [line["status"] for line in lines] == [201] * 12 + [415, 422, 201]
        assert [line["key"] for line in lines[:12]] == [f"bulk/{number}" for number in range(12)]
        assert lines[14]["key"] == "by-name.png"
        for number, line in enumerate(lines[:12]):
            item = client.get(f"/v1/items/{line['id']}").json()
            assert (item["metadata"], item["label"]) == ({"n": number}, None)
        assert {f"bulk/{number}" for number in range(12)} <= keys_of(folder)
        assert [line["status"] for line in self.post(client, parts[:3])] == [200]
        parts[2] = ("image", ("x.png", pictures[1]))
        assert [line["status"] for line in self.post(client, parts[:3])] == [409]
        assert [line["status"] for line in self.post(client, parts[:3], replace=True)] == [200]

    def test_an_answer_comes_while_the_rest_is_still_to_be_sent(self, client: httpx.Client, folder: Path) -> None:
        """Over a bare socket, since httpx reads no answer before it has sent everything."""
        first = make_part("stream/1", BLUE) + b"--b\r\n"
        second = make_part("stream/2", RED)[5:] + b"--b--\r\n"
        head = (
            "POST /v1/items/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(first) + len(second)}\r\n\r\n"
        )
        with socket.create_connection((client.base_url.host, client.base_url.port or 80), 20) as connection:
            connection.sendall(head.encode() + first)
            received = b""
            while b'"stream/1"' not in received:
                received += connection.recv(65536)
            assert "stream/1" in keys_of(folder)
            assert b"stream/2" not in received
            connection.sendall(second)
            while chunk := connection.recv(65536):
                received += chunk
        assert received.count(b'"status": 201') == 2

    def test_a_client_that_reads_only_at_the_end_is_not_waited_for(self, client: httpx.Client) -> None:
        """More answers than the sockets between take in: without a queue both sides would wait for each other."""
        count = 6000
        body = b"".join(make_part(f"unread/{number}", b"hello") for number in range(count)) + b"--b--\r\n"
        head = (
            "POST /v1/items/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect((client.base_url.host, client.base_url.port or 80))
            connection.sendall(head.encode() + body)
            received = bytearray()
            while chunk := connection.recv(65536):
                received += chunk
        assert received.count(b'"status": 415') == count * 2  # in the line, and in its problem
        assert len(received) > 1_000_000

    def test_a_body_that_breaks_off(self, client: httpx.Client, folder: Path) -> None:
        whole = make_part("broken/1", BLUE)
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        response = client.post("/v1/items/batch", content=whole + whole[:90], headers=headers)
        first, last = (json.loads(line) for line in response.text.splitlines())
        assert (first["status"], first["key"]) == (201, "broken/1")
        assert (last["number"], last["status"]) == (None, 422)
        assert "broken/1" in keys_of(folder)

    @pytest.mark.parametrize(
        ("parts", "words"),
        [
            ([("key", (None, "alone"))], "ends without a file"),
            ([("picture", ("x", RED))], "no file `picture`"),
            ([("lable", (None, "red")), ("image", ("x", RED))], "did you mean `label`"),
        ],
    )
    def test_parts_that_do_not_fit(self, client: httpx.Client, parts: list[Any], words: str) -> None:
        [line] = self.post(client, parts)
        assert (line["number"], line["status"]) == (None, 422)
        assert words in line["problem"]["detail"]

    def test_no_form(self, client: httpx.Client) -> None:
        expect_problem(client.post("/v1/items/batch", content=b"x"), 415)
        expect_problem(
            client.post("/v1/items/batch", content=b"", headers={"Content-Type": "multipart/form-data; boundary=b"}),
            422,
        )


def test_reload_and_compact(client: httpx.Client) -> None:
    state = client.post("/v1/index/reload").json()
    assert state == client.get("/v1/index").json()
    report = client.post("/v1/index/compact").json()
    assert report["pictures"] == state["size"]
    assert report["recall"] == 1.0


def test_a_read_only_index_says_so(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Writes are refused with the reason; searches go on."""
    folder, place = tmp_path / "index", tmp_path / "mounted"
    build(write_drawn_pictures(tmp_path / "source", ["red"]), tiny_bundle, folder)
    place.mkdir()
    done = subprocess.run(["mount", "--bind", str(folder), str(place)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        with serve(place, tmp_path / "log") as service, httpx.Client(base_url=service.url, timeout=30) as client:
            files = {"image": RED}
            for response in (
                client.post("/v1/items", data={"key": "new"}, files=files),
                client.patch("/v1/items/1", json={"label": "new"}),
                client.delete("/v1/items/1"),
                client.post("/v1/index/compact"),
            ):
                expect_problem(response, 403, "the index is read-only here; searches go on")
            [line] = client.post("/v1/items/batch", files=files).text.splitlines()
            assert json.loads(line)["status"] == 403
            assert len(search(client, RED)["results"]) == 4
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_merge_patches_as_the_rfc_has_them() -> None:
    """RFC 7396, appendix A, where both sides are objects."""
    for target, patch, expected in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        before = json.dumps(target)
        assert merge_patch(target, patch) == expected
        assert json.dumps(target) == before
