"""Hundreds of damaged pictures, from one seed: never a 5xx, and the good ones among them answer as ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tests.drawn_pictures import draw_picture
from tests.service.live_service import LiveService, expect_problem, search

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP")
EACH = 60  # mutations of a format


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """Cut off, bits turned over, a stretch overwritten or doubled."""
    at = int(random.integers(1, len(data)))
    kind = random.integers(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        raw = bytearray(data)
        for place in random.integers(0, len(raw), size=int(random.integers(1, 9))):
            raw[place] ^= 1 << int(random.integers(8))
        return bytes(raw)
    stretch = random.bytes(int(random.integers(1, 40)))
    return data[:at] + stretch + data[at + len(stretch) if kind == 2 else at :]


def mutate(format_: str) -> Iterator[bytes]:
    random = np.random.default_rng([2020, FORMATS.index(format_)])
    for number in range(EACH):
        data = draw_picture(("red", "green", "blue")[number % 3], number, format_)
        head = random.integers(2) == 1  # half of the damage in the first 64 bytes, where sizes and offsets are
        yield damage(data[:64], random) + data[64:] if head else damage(data, random)


@pytest.mark.parametrize("format_", FORMATS)
def test_no_damage_brings_the_service_down(client: httpx.Client, live_service: LiveService, format_: str) -> None:
    good = draw_picture("yellow", 1, format_)
    expected = search(client, good)

    def upload(data: bytes) -> int:
        response = client.post("/v1/search", files={"image": data})
        if response.status_code != 200:
            assert response.status_code in {413, 415, 422}, response.text
            expect_problem(response, response.status_code)
        return response.status_code

    with ThreadPoolExecutor(4) as threads:
        damaged = threads.map(upload, mutate(format_))
        between = [threads.submit(search, client, good) for _ in range(10)]
        statuses = Counter(damaged)
        assert [answer.result() for answer in between] == [expected] * 10
    assert sum(statuses.values()) == EACH
    assert statuses.total() - statuses[200] >= EACH // 6  # else the damage was none
    assert client.get("/readyz").status_code == 200
