"""Decoding: every mode and format, the eight turns, transparency and the reduced-size rule."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from index import images
from index.errors import BrokenImageError, ImageTooLargeError
from index.images import SUFFIXES, ImageLimits, decode, read_bytes

LIMITS = ImageLimits()
WIDTH, HEIGHT = 30, 20


def save(image: Image.Image, format_: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def decoded(data: bytes, reduce_to: int | None = None) -> NDArray[np.int16]:
    """(h, w, 3) values, signed so that they can be subtracted."""
    image = decode(data, LIMITS, reduce_to)
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int16)


def smooth() -> Image.Image:
    """Crossing ramps: lossy codecs keep them to within a few values."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([60 + 4 * x, 40 + 6 * y, 200 - 2 * x - 3 * y], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def quarters(side: int = 16) -> Image.Image:
    """Red, green, blue and white quarters, twice as wide as high: no two of the eight turns look alike."""
    pixels = np.zeros((2 * side, 4 * side, 3), np.uint8)
    pixels[:side, : 2 * side] = (250, 10, 10)
    pixels[:side, 2 * side :] = (10, 250, 10)
    pixels[side:, : 2 * side] = (10, 10, 250)
    pixels[side:, 2 * side :] = (250, 250, 250)
    return Image.fromarray(pixels)


LOSSLESS = [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("WEBP", {"lossless": True})]
LOSSY = [("JPEG", 95), ("WEBP", 95), ("AVIF", 95), ("MPO", 95)]


@pytest.mark.parametrize(("format_", "options"), LOSSLESS)
def test_lossless_rgb_comes_through_unchanged(format_: str, options: dict[str, Any]) -> None:
    assert (decoded(save(smooth(), format_, **options)) == np.asarray(smooth())).all()


@pytest.mark.parametrize(("format_", "quality"), LOSSY)
def test_lossy_rgb_comes_through_nearly(format_: str, quality: int) -> None:
    options: dict[str, Any] = {"subsampling": 0} if format_ == "JPEG" else {}
    assert np.abs(decoded(save(smooth(), format_, quality=quality, **options)) - np.asarray(smooth())).mean() < 4


MODES = [
    ("1", "PNG"), ("1", "TIFF"), ("1", "BMP"),
    ("L", "PNG"), ("L", "JPEG"), ("L", "GIF"), ("L", "BMP"), ("L", "TIFF"),
    ("LA", "PNG"), ("LA", "TIFF"),
    ("P", "PNG"), ("P", "GIF"), ("P", "BMP"), ("P", "TIFF"), ("PA", "TIFF"),
    ("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "AVIF"), ("RGBA", "TIFF"), ("RGBA", "BMP"), ("RGBX", "TIFF"),
    ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("YCbCr", "TIFF"), ("LAB", "TIFF"),
    ("I", "TIFF"), ("F", "TIFF"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "format_"), MODES)
def test_every_mode_looks_as_pillow_shows_it(mode: str, format_: str) -> None:
    image = smooth().convert(mode)
    expected = np.asarray(image.convert("L" if mode in ("I", "F") else "RGB").convert("RGB")).astype(np.int16)
    found = decoded(save(image, format_))
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found - expected).mean() < 5


def ramp(dtype: str, top: float) -> Image.Image:
    """A grey ramp from 0 to `top` of a given type, and what it should look like is a ramp from 0 to 255."""
    values = np.linspace(0, top, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    return Image.fromarray(values.astype(dtype))


@pytest.mark.parametrize(
    ("dtype", "top", "format_"),
    [
        ("uint16", 65535, "PNG"),
        ("uint16", 65535, "TIFF"),
        ("int32", 65535, "TIFF"),
        ("int32", 255, "TIFF"),
        ("float32", 1.0, "TIFF"),
        ("float32", 255.0, "TIFF"),
        ("float32", 65535.0, "TIFF"),
    ],
)
def test_high_depth_becomes_grey_over_its_whole_range(dtype: str, top: float, format_: str) -> None:
    expected = np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH, 1)
    assert np.abs(decoded(save(ramp(dtype, top), format_)) - expected).max() <= 1


def test_dark_16_bit_picture_stays_dark() -> None:
    assert decoded(save(ramp("uint16", 200), "PNG")).max() <= 1


def test_float_picture_with_holes_is_read() -> None:
    values = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    values[0, 0] = np.nan
    found = decoded(save(Image.fromarray(values), "TIFF"))
    assert found[0, 0, 0] == 0
    assert abs(found[1, 1, 0] - 128) <= 1


def with_alpha(mode: str) -> Image.Image:
    """Black, the left half wholly transparent."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, WIDTH // 2, HEIGHT))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "format_"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "AVIF"), ("RGBA", "TIFF"), ("RGBA", "GIF")],
)
def test_transparent_shows_white(mode: str, format_: str) -> None:
    found = decoded(save(with_alpha(mode), format_))
    assert found[:, : WIDTH // 2 - 2].min() >= 250
    assert found[:, WIDTH // 2 + 2 :].max() <= 5


def in_palette(number: int) -> Image.Image:
    """4x4 pixels of colour `number` out of 256 greys."""
    image = Image.new("P", (4, 4), number)
    image.putpalette([value for value in range(256) for _ in "rgb"])
    return image


@pytest.mark.parametrize(
    ("image", "key"),
    [
        (Image.new("L", (4, 4), 7), 7),
        (Image.new("RGB", (4, 4), (7, 8, 9)), (7, 8, 9)),
        (Image.new("1", (4, 4), 0), 0),
        (in_palette(3), 3),
        (in_palette(3), bytes(4)),
        (Image.fromarray(np.full((4, 4), 3000, np.uint16)), 3000),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else type(value).__name__,
)
def test_transparent_colour_of_a_png_shows_white(image: Image.Image, key: object) -> None:
    assert (decoded(save(image, "PNG", transparency=key)) == 255).all()


def test_half_transparent_is_half_white() -> None:
    found = decoded(save(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG"))
    assert np.abs(found - 127).max() <= 1


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What a viewer shows for stored `pixels` (h, w, 3): the EXIF standard's words, in numpy."""
    row0, column0 = {  # which edges of the upright picture the stored first row and first column are
        1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
        5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom",
    }[orientation].split()  # fmt: skip
    if orientation >= 5:  # stored rows are upright columns
        pixels, row0, column0 = pixels.swapaxes(0, 1), column0, row0
    if row0 == "bottom":
        pixels = pixels[::-1]
    return pixels[:, ::-1] if column0 == "right" else pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_turns(format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    expected = turned(np.asarray(quarters()).astype(np.int16), orientation)
    found = decoded(save(quarters(), format_, exif=exif.tobytes()))
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 12


def test_turn_of_a_tiff_written_as_a_tag() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[int(ExifTags.Base.Orientation)] = 6
    expected = turned(np.asarray(quarters()), 6)
    assert (decoded(save(quarters(), "TIFF", tiffinfo=tags)) == expected).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_turn_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert (decoded(save(quarters(), "PNG", exif=exif.tobytes())) == np.asarray(quarters())).all()


def test_damaged_metadata_spoils_nothing_and_says_nothing() -> None:
    data = save(quarters(), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00")
    images._silence_pillow.cache_clear()  # pytest has set the filters back since
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (decoded(data) == np.asarray(quarters())).all()
    assert caught == []


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_first_frame_counts(format_: str) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ((200, 30, 30), (30, 30, 200), (30, 200, 30))]
    found = decoded(save(frames[0], format_, save_all=True, append_images=frames[1:]))
    assert np.abs(found - np.array([200, 30, 30])).max() < 12


@pytest.mark.parametrize(
    ("reduce_to", "size"),
    [
        (None, (4000, 3000)),
        (1, (500, 375)),
        (375, (500, 375)),
        (376, (1000, 750)),
        (512, (1000, 750)),
        (750, (1000, 750)),
        (751, (2000, 1500)),
        (1501, (4000, 3000)),
        (9000, (4000, 3000)),
    ],
)
def test_12_megapixel_jpeg_is_reduced(reduce_to: int | None, size: tuple[int, int], large: bytes) -> None:
    image = decode(large, LIMITS, reduce_to)
    assert image.size == size
    extremes = np.array(image.getextrema())  # (3, 2)
    assert np.abs(extremes.T - (9, 99, 200)).max() <= 2


@pytest.fixture(scope="module")
def large() -> bytes:
    """A JPEG of 12 megapixels in one colour."""
    return save(Image.new("RGB", (4000, 3000), (9, 99, 200)), "JPEG")


def test_small_jpeg_is_not_reduced() -> None:
    data = save(Image.new("RGB", (511, 900)), "JPEG")
    assert decode(data, LIMITS, 256).size == (511, 900)
    assert decode(data, LIMITS, 255).size == (256, 450)


def test_only_jpeg_is_reduced() -> None:
    data = save(Image.new("RGB", (800, 800)), "PNG")
    assert decode(data, LIMITS, 10).size == (800, 800)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_reduced_jpeg_of_another_mode(mode: str) -> None:
    found = decoded(save(Image.new("RGB", (64, 64), (90, 90, 90)).convert(mode), "JPEG"), reduce_to=8)
    assert found.shape == (8, 8, 3)
    assert np.abs(found - 90).max() <= 2


def test_mpo_is_reduced_too() -> None:
    data = save(Image.new("RGB", (64, 64)), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    assert decode(data, LIMITS, 16).size == (16, 16)


def test_decoding_leaves_the_warning_filters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(smooth(), "PNG")
    decode(data, LIMITS)
    inside: list[object] = []
    inner = images._decode

    def spy(*arguments: Any) -> Image.Image:
        inside.append(warnings.filters)
        return inner(*arguments)

    monkeypatch.setattr(images, "_decode", spy)
    decode(data, LIMITS)
    assert len(inside) == 1
    assert inside[0] is warnings.filters  # a swapped list would be seen, and kept, by other threads


def test_suffixes_cover_what_is_read() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".mpo"} <= SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


def test_read_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(100))
    assert read_bytes(path, ImageLimits(max_bytes=100)) == bytes(100)
    with pytest.raises(ImageTooLargeError, match=r"a\.png: .*expected at most 99, found 100"):
        read_bytes(path, ImageLimits(max_bytes=99))


@pytest.mark.parametrize("name", ["missing.png", "", "a\0b.png", "x" * 300])
def test_unreadable_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BrokenImageError, match="can not be read"):
        read_bytes(tmp_path / name, LIMITS)


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BrokenImageError, match="not a file"):
        read_bytes(tmp_path / "pipe.png", LIMITS)
