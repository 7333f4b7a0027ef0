"""Every kind of file over real HTTP: each is answered with what it looks like, or refused with the right status."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import picture_zoo as zoo
from tests.service.live_service import LiveService, expect_problem, search

GOOD = zoo.good()
BAD = zoo.bad()


@pytest.mark.parametrize("name", GOOD)
def test_a_picture_is_known_by_what_it_shows(client: httpx.Client, name: str) -> None:
    data, label = GOOD[name]
    answer = search(client, data, k=3)
    assert answer["results"][0]["label"] == label
    assert answer == search(client, data, k=3)


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_a_turned_picture_is_the_upright_one(client: httpx.Client, turn: int) -> None:
    upright = search(client, zoo.save(zoo.drawn(), "PNG"), k=24)
    assert search(client, zoo.turned("PNG", turn), k=24) == upright


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused(client: httpx.Client, name: str) -> None:
    data, status = BAD[name]
    expect_problem(client.post("/v1/search", files={"image": data}), status)


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/zip", "image/tiff", "", "no type"])
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_what_a_file_is_called_and_typed_as_never_matters(client: httpx.Client, format_: str, kind: str) -> None:
    data = zoo.save(zoo.drawn(), format_)
    response = client.post("/v1/search?k=1", files={"image": ("page.svg", data, kind)})
    assert response.status_code == 200, response.text
    assert response.json()["results"][0]["label"] == "red"


def resident(process: int) -> int:
    """Bytes of memory that a process has."""
    text = Path(f"/proc/{process}/statm").read_text()
    return int(text.split()[1]) * 4096


@pytest.mark.parametrize(
    ("name", "few", "many"),
    [
        ("gif", lambda: zoo.gif(50, 50, 2), lambda: zoo.gif(50, 50, zoo.FRAMES)),
        ("webp", lambda: zoo.webp(2), lambda: zoo.webp(zoo.FRAMES)),
        ("tiff", lambda: zoo.tiff(2), lambda: zoo.tiff(zoo.FRAMES)),
        ("avif", lambda: zoo.avif(2), lambda: zoo.avif(2_000)),
    ],
    ids=["gif", "webp", "tiff", "avif"],
)
def test_of_many_frames_the_first_alone_is_paid_for(
    client: httpx.Client, live_service: LiveService, name: str, few: object, many: object
) -> None:
    small, large = few(), many()  # type: ignore[operator]
    expected = search(client, small, k=3)
    before = resident(live_service.process)
    started = time.monotonic()
    assert search(client, large, k=3) == expected
    assert time.monotonic() - started < 4.0  # all frames of these take longer
    assert resident(live_service.process) - before < 64 * 2**20
    assert expected["results"][0]["label"] == "red"


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """An address of this machine, and what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    asked.append(connection.recv(1000))

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            time.sleep(0.3)
            done.set()
            thread.join()


def test_no_address_that_is_given_is_ever_fetched(client: httpx.Client) -> None:
    with listening() as (address, asked):
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}/a.png"/></svg>'.encode()
        xml = f'<?xml version="1.0"?><!DOCTYPE a SYSTEM "{address}/a.dtd"><a/>'.encode()
        for data in (svg, xml, address.encode(), f"{address}/a.png".encode()):
            expect_problem(client.post("/v1/search", files={"image": ("a.svg", data, "image/svg+xml")}), 415)
        expect_problem(client.post("/v1/search", data={"image": address}, files={"other": b"x"}), 422)
        expect_problem(client.post("/v1/search", data={"image": address, "url": address}), 415)
        expect_problem(client.post("/v1/search", json={"image": address, "url": address}), 415)
        client.post(
            "/v1/search", params={"image": address, "url": address}, files={"image": zoo.save(zoo.drawn(), "PNG")}
        )
        comment = zoo.save(zoo.drawn(), "JPEG", comment=address.encode())
        search(client, comment)
    assert asked == []
