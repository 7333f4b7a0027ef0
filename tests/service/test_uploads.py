"""Hostile bodies over HTTP: each gets a problem document that says what is wrong, and the process stays small."""

from __future__ import annotations

import io
import re
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.drawn_pictures import draw_picture
from tests.service.live_service import LiveService, expect_problem, search

FORM = "multipart/form-data; boundary=b"
PICTURE = draw_picture("red")
MEBIBYTE = 2**20


def make_part(content: bytes = PICTURE, name: bytes = b'"image"', file: bytes = b'; filename="a.png"') -> bytes:
    """One part of a form, as it goes over the wire."""
    return b"--b\r\nContent-Disposition: form-data; name=" + name + file + b"\r\n\r\n" + content + b"\r\n"


def make_form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def post(client: httpx.Client, body: bytes | Iterator[bytes], kind: str | bytes | None = FORM) -> httpx.Response:
    headers = [] if kind is None else [(b"content-type", kind if isinstance(kind, bytes) else kind.encode())]
    return client.post("/v1/search", content=body, headers=headers)


def claim_png(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that says it is `width` x `height`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def peak_memory(process: int) -> int:
    """The most bytes that a process had in memory so far."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert match
    return int(match[1]) * 1024


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, ["empty", "0 bytes"]),
        (b"this is no picture", 415, ["not a picture", "JPEG", "this is no pictu"]),
        (b"%PDF-1.7 and more", 415, ["a PDF"]),
        (b"\0\0\0\x18ftypheic\0\0\0\0", 415, ["HEIC"]),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, ["not a picture"]),
        (PICTURE[:200], 422, ["truncated or corrupt"]),
        (draw_picture("red", 1, "JPEG")[:300], 422, ["truncated or corrupt"]),
        (b"\x89PNG\r\n\x1a\n", 422, ["truncated or corrupt"]),
        (claim_png(60_000, 60_000), 413, ["too many pixels", "50000000"]),
        (claim_png(10_000, 6_000), 413, ["too many pixels", "10000x6000"]),
        (claim_png(0, 0), 422, ["truncated or corrupt"]),
        (claim_png(2**31 - 1, 2**31 - 1), 413, ["too many pixels"]),
        (b"\0" * 1000, 415, ["not a picture"]),
    ],
)
def test_a_bad_picture_is_refused_with_its_reason(
    client: httpx.Client, content: bytes, status: int, words: list[str]
) -> None:
    expect_problem(client.post("/v1/search", files={"image": content}), status, *words)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_that_a_problem_names_is_answered(client: httpx.Client, format_: str) -> None:
    assert search(client, draw_picture("red", 0, format_), 1)["results"][0]["label"] == "red"


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (make_form(make_part()), None, 415, ["no Content-Type", "multipart/form-data"]),
        (make_form(make_part()), "text/plain", 415, ["text/plain"]),
        (PICTURE, "image/png", 415, ["image/png", "-F image=@FILE"]),
        (b"image=x", "application/x-www-form-urlencoded", 415, ["multipart/form-data"]),
        (b"{}", "multipart/form-data-not", 415, ["multipart/form-data"]),
        (make_form(make_part()), "multipart/form-data", 422, ["boundary"]),
        (make_form(make_part()), "multipart/form-data; boundary=", 422, ["can not be read"]),
        (make_form(make_part()), "multipart/form-data; boundary=" + "x" * 300, 422, ["can not be read"]),
        (make_form(make_part()), "multipart/form-data; boundary=c", 422, ["can not be read"]),
        (make_form(make_part()), b"multipart/form-data; boundary=\xff\xfe", 422, ["can not be read"]),
        (b"", FORM, 422, ["no file `image`", "no whole field"]),
        (b"--b--", FORM, 422, ["no file `image`"]),
        (b"garbage", FORM, 422, ["can not be read"]),
        (make_part()[:200], FORM, 422, ["ends within a part"]),
        (make_form(b"--b\r\n\r\n\r\n"), FORM, 422, ["name"]),
        (make_form(make_part(name=b'"picture"')), FORM, 422, ["no file `image`", "file `picture`"]),
        (make_form(make_part(b"words", file=b"")), FORM, 422, ["no file `image`", "text `image`"]),
        (make_form(make_part(file=b"")), FORM, 413, ["the field `image` has too many bytes", "4096"]),
        (make_form(*[make_part()] * 17), FORM, 422, ["too many files `image`"]),
        (make_form(*[make_part(b"x", b'"f"', b"")] * 50_000), FORM, 422, ["too many fields"]),
        (make_form(*[make_part(b"x", b'"f"')] * 50_000), FORM, 422, ["too many files"]),
        (make_form(make_part(name=b'"\xff\xfe"')), FORM, 422, ["no file `image`"]),
        (make_form(make_part(name=b'"' + b"n" * 3000 + b'"')), FORM, 422, ["no file `image`"]),
        (make_form(make_part(name=b'"' + b"n" * 100_000 + b'"')), FORM, 422, ["can not be read"]),
        (make_form(make_part(name=b'"image"\r\nX: y' + b"\r\nX: y" * 50)), FORM, 422, ["can not be read"]),
        (make_form(make_part(b"x", b'"+2AA-"', b"")), FORM + "; charset=utf-7", 422, ["no file `image`"]),
    ],
)
def test_a_bad_form_is_refused_with_its_reason(
    client: httpx.Client, body: bytes, kind: str | bytes | None, status: int, words: list[str]
) -> None:
    assert len(expect_problem(post(client, body, kind), status, *words)) < 400


@pytest.mark.parametrize(
    "name",
    [b"../../etc/passwd", b"a\x00b", b"\xff\xfe", b"", b"C:\\x\\y.png", b"n" * 3000, "猫.png".encode(), b"%2e%2e"],
)
def test_what_the_file_is_called_never_matters(client: httpx.Client, name: bytes) -> None:
    response = post(client, make_form(make_part(file=b'; filename="' + name + b'"')))
    assert response.status_code == 200, response.text
    assert response.json()["results"] == search(client, PICTURE)["results"]


@pytest.mark.parametrize("name", [b"k", b"note", b"image"])
def test_a_text_field_is_refused_by_its_name(client: httpx.Client, name: bytes) -> None:
    body = make_form(make_part(), make_part(b"2", b'"' + name + b'"', b""))
    expect_problem(post(client, body), 422, f"no text field `{name.decode()}`", "into the address")


def test_a_codec_named_by_the_client_is_not_used(client: httpx.Client) -> None:
    """Punycode takes quadratic time: minutes for a field of a megabyte."""
    body = make_form(make_part(b"z" * 4000 + b"-" + b"a9" * 1000, b'"note"', b""), make_part())
    started = time.perf_counter()
    expect_problem(post(client, body, FORM + "; charset=punycode"), 413, "the field `note`")
    assert time.perf_counter() - started < 2
    assert post(client, make_form(make_part()), FORM + '; charset="undefined"').status_code == 200


def test_bodies_far_beyond_the_limit_are_refused_in_bounded_memory(
    client: httpx.Client, live_service: LiveService
) -> None:
    def stream(mebibytes: int) -> Iterator[bytes]:  # chunked: without a Content-Length
        yield make_part(b"")[:-2]
        for _ in range(mebibytes):
            yield b"x" * MEBIBYTE

    before = peak_memory(live_service.process)
    words = ["too many bytes", "33"]
    expect_problem(post(client, stream(40)), 413, *words)
    expect_problem(post(client, stream(200)), 413, *words)
    expect_problem(post(client, make_part(b"x" * 40 * MEBIBYTE)), 413, *words)
    just_over = make_form(make_part(b"x" * (32 * MEBIBYTE + 1)))
    expect_problem(post(client, just_over), 413, "the picture has too many bytes", str(32 * MEBIBYTE))
    # One body of 32 MiB is held twice while it is copied out of the form, and the allocator keeps some.
    assert peak_memory(live_service.process) - before < 160 * MEBIBYTE


def test_a_claim_of_many_pixels_takes_no_memory(client: httpx.Client, live_service: LiveService) -> None:
    buffer = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(buffer, "PNG")  # 243 MB as RGB
    before = peak_memory(live_service.process)
    expect_problem(client.post("/v1/search", files={"image": buffer.getvalue()}), 413, "9000x9000")
    assert peak_memory(live_service.process) - before < 20 * MEBIBYTE


def test_a_client_that_goes_away_leaves_no_trace(client: httpx.Client, live_service: LiveService) -> None:
    address = httpx.URL(live_service.url)
    for _ in range(5):
        with socket.create_connection((address.host, address.port or 80)) as connection:
            head = f"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 99999\r\n\r\n"
            connection.sendall(head.encode() + make_part()[:100])
    assert search(client, PICTURE)["results"]
    assert "Traceback" not in live_service.log.read_text()
