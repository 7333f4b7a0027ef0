"""Thumbnails: size, aspect, and that they show the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from index.thumbnails import draw_thumbnail, is_whole


def draw(image: Image.Image) -> Image.Image:
    """The thumbnail, opened."""
    return Image.open(io.BytesIO(draw_thumbnail(image)), formats=["JPEG"])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1024, 512), (256, 128)),
        ((300, 900), (85, 256)),
        ((256, 256), (256, 256)),
        ((40, 30), (40, 30)),  # nothing is enlarged
        ((5000, 2), (256, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert draw(Image.new("RGB", size)).size == expected


def test_shows_the_picture_and_leaves_it_alone() -> None:
    image = Image.new("RGB", (800, 400), (200, 30, 30))
    image.paste((20, 40, 210), (400, 0, 800, 400))
    before = image.tobytes()
    small = np.asarray(draw(image).convert("RGB")).astype(int)
    assert np.abs(small[:, :120] - (200, 30, 30)).max() < 12
    assert np.abs(small[:, 136:] - (20, 40, 210)).max() < 12
    assert image.size == (800, 400)
    assert image.tobytes() == before


def test_is_the_same_each_time() -> None:
    noise = np.random.default_rng(0).integers(0, 255, size=(500, 400, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert draw_thumbnail(image) == draw_thumbnail(image)


def test_any_changed_byte_is_noticed() -> None:
    data = draw_thumbnail(Image.new("RGB", (30, 20), (200, 30, 30)))
    assert is_whole(data)
    assert not is_whole(b"")
    for place in range(len(data)):
        assert not is_whole(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_any_changed_or_missing_byte_is_found() -> None:
    whole = draw_thumbnail(Image.new("RGB", (20, 30), (200, 30, 30)))
    assert is_whole(whole)
    for place in range(len(whole)):
        assert not is_whole(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not is_whole(whole[:place])
    assert not is_whole(whole + b"x")
