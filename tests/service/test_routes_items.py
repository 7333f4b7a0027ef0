"""The pictures of items over HTTP: what was indexed, without its metadata, or the reason why not."""

from __future__ import annotations

import io
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from index.builder import build_index
from index.bundle import Bundle
from index.sources import read_source
from tests.drawn_pictures import draw_picture
from tests.service.live_service import LiveService, expect_problem, serve
from tests.vector_gallery import make_index


def test_an_image_is_the_bytes_that_were_indexed(client: httpx.Client, live_service: LiveService) -> None:
    for id_, picture in enumerate(live_service.pictures, start=1):
        response = client.get(f"/v1/items/{id_}/image")
        assert response.content == picture.read_bytes()
        assert response.headers["content-type"] == {".png": "image/png", ".jpg": "image/jpeg"}[picture.suffix]
        assert response.headers["x-content-type-options"] == "nosniff"


def test_metadata_stays_at_home(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Added over HTTP, kept on disk byte by byte, answered without; and what the index holds hangs on the bytes."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "SECRET camera"
    buffer = io.BytesIO()
    Image.open(io.BytesIO(draw_picture("red"))).save(buffer, "JPEG", exif=exif, comment=b"SECRET comment")
    make_index(tmp_path / "index", tiny_bundle)
    with serve(tmp_path / "index", tmp_path / "log") as service, httpx.Client(base_url=service.url) as client:
        added = client.post("/v1/items", data={"key": "secret"}, files={"image": buffer.getvalue()}).json()
        for kind in ("image_url", "thumbnail_url"):
            sent = client.get(added[kind]).content
            assert b"SECRET" not in sent
            with Image.open(io.BytesIO(sent)) as image, Image.open(io.BytesIO(draw_picture("red"))) as drawn:
                assert ImageOps.exif_transpose(image).size == drawn.size[::-1]
    [original] = (tmp_path / "index" / "originals").glob("*/*")
    assert original.read_bytes() == buffer.getvalue()


def test_a_thumbnail_is_a_small_jpeg(client: httpx.Client) -> None:
    response = client.get("/v1/items/1/thumbnail")
    assert response.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.format == "JPEG"
        assert max(image.size) <= 256


@pytest.mark.parametrize("kind", ["image", "thumbnail"])
def test_a_browser_that_has_it_gets_a_304(client: httpx.Client, kind: str) -> None:
    first = client.get(f"/v1/items/2/{kind}")
    tag = first.headers["etag"]
    assert "no-cache" in first.headers["cache-control"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get(f"/v1/items/2/{kind}", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = client.get("/v1/items/3/image", headers={"If-None-Match": tag})
    assert other.status_code == 200


def test_image_and_thumbnail_have_tags_of_their_own(client: httpx.Client) -> None:
    tags = {client.get(f"/v1/items/{id_}/{kind}").headers["etag"] for id_ in (1, 2) for kind in ("image", "thumbnail")}
    assert len(tags) == 4


@pytest.mark.parametrize("kind", ["image", "thumbnail"])
def test_an_id_that_names_no_item_is_refused(client: httpx.Client, kind: str) -> None:
    for unknown in (25, 2**63 - 1):
        expect_problem(client.get(f"/v1/items/{unknown}/{kind}"), 404, "no such item", str(unknown))
    for bad in ("0", "-1", str(2**63), "9" * 5000, "x", "1.5", "%00", "1%20or%201=1"):
        expect_problem(client.get(f"/v1/items/{bad}/{kind}"), 422, "id: ")


def test_examples_are_spread_over_the_index(client: httpx.Client, live_service: LiveService) -> None:
    items = client.get("/v1/examples", params={"n": 6}).json()["items"]
    assert [list(item) for item in items] == [["id", "key", "label"]] * 6
    assert len({item["label"] for item in items}) == 6
    assert len(client.get("/v1/examples").json()["items"]) == 12
    assert len(client.get("/v1/examples", params={"n": 100}).json()["items"]) == len(live_service.pictures)
    for bad in ("0", "101", "x", "-1"):
        expect_problem(client.get("/v1/examples", params={"n": bad}), 422, "n: ")


def test_a_picture_that_changed_or_went_away_is_gone(tiny_bundle: Bundle, own_pictures: Path, tmp_path: Path) -> None:
    index = tmp_path / "own.index"
    build_index(read_source(own_pictures), tiny_bundle, index)
    pictures = [picture.path for picture in read_source(own_pictures).pictures]
    pictures[0].write_bytes(b"something else")
    pictures[1].unlink()
    pictures[2].unlink()
    pictures[2].mkdir()
    thumbnails = sorted((index / "thumbnails").rglob("*.jpg"))
    with serve(index, tmp_path / "log") as service, httpx.Client(base_url=service.url) as client:
        expect_problem(client.get("/v1/items/1/image"), 410, "has changed", "index its source again")
        expect_problem(client.get("/v1/items/2/image"), 410, "no longer where it was indexed")
        expect_problem(client.get("/v1/items/3/image"), 410, "no longer where it was indexed")
        assert client.get("/v1/items/1/thumbnail").status_code == 200  # drawn when it was indexed
        before = client.get("/v1/items/4/thumbnail").content
        for thumbnail in thumbnails:
            thumbnail.unlink()
        expect_problem(client.get("/v1/items/1/thumbnail"), 410)
        assert client.get("/v1/items/4/thumbnail").content == before  # drawn anew


def test_clients_that_do_not_read_pictures_take_no_more_memory_than_places(tiny_bundle: Bundle, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)  # 12 MB, more than sockets hold
    Image.fromarray(noise).save(pictures / "noise.png", compress_level=0)
    build_index(read_source(pictures), tiny_bundle, tmp_path / "own.index")
    with (
        serve(tmp_path / "own.index", tmp_path / "log", "--deadline", 1) as service,
        httpx.Client(base_url=service.url) as client,
        ExitStack() as idle,
    ):
        url = httpx.URL(service.url)
        for _ in range(16):
            connection = idle.enter_context(socket.create_connection((url.host, url.port or 0)))
            connection.sendall(f"GET /v1/items/1/image HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        refused = client.get("/v1/items/1/image")
        expect_problem(refused, 503, "too many pictures")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/v1/items/1/thumbnail").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/items").status_code == 200  # lists have turns of their own
        idle.close()
        assert client.get("/v1/items/1/image").status_code == 200
