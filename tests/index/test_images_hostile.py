"""Decoding files that mean harm or are damaged: only ImageError comes out, soon, and within the memory allowed."""

from __future__ import annotations

import io
import random
import struct
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from index.errors import BrokenImageError, ImageError, ImageTooLargeError, UnsupportedImageError
from index.images import ImageLimits, decode

# pytest sets the process's filters back before each test, and with them the one that `decode` sets once.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

LIMITS = ImageLimits()
SMALL = ImageLimits(max_bytes=10_000, max_pixels=2_000)


def save(image: Image.Image, format_: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def noise(width: int = 24, height: int = 18) -> Image.Image:
    """Random colours, the same on every run."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))


def samples() -> dict[str, bytes]:
    """A small file of each kind that is read."""
    image, other = noise(), noise().transpose(Image.Transpose.ROTATE_180)
    exif = Image.Exif()
    exif[274] = 6
    return {
        "jpeg": save(image, "JPEG", exif=exif.tobytes()),
        "progressive": save(image, "JPEG", progressive=True),
        "cmyk": save(image.convert("CMYK"), "JPEG"),
        "png": save(image, "PNG", exif=exif.tobytes()),
        "palette": save(image.convert("P"), "PNG", transparency=3),
        "deep": save(Image.fromarray(np.arange(432, dtype=np.uint16).reshape(18, 24) * 150), "PNG"),
        "gif": save(image, "GIF", save_all=True, append_images=[other]),
        "webp": save(image, "WEBP"),
        "animation": save(image, "WEBP", save_all=True, append_images=[other]),
        "bmp": save(image, "BMP"),
        "tiff": save(image, "TIFF"),
        "lzw": save(image, "TIFF", compression="tiff_lzw"),
        "tiff_jpeg": save(image, "TIFF", compression="jpeg"),
        "mpo": save(image, "MPO", save_all=True, append_images=[other]),
        "avif": save(image, "AVIF", speed=10),
    }


SAMPLES = samples()


def survive(data: bytes, limits: ImageLimits = SMALL) -> Image.Image | None:
    """The picture, or None where it was refused as it should be: any other error fails the test."""
    try:
        image = decode(data, limits, reduce_to=4)
    except ImageError:
        return None
    assert image.mode == "RGB"
    assert 1 <= image.width * image.height <= limits.max_pixels
    return image


def overwrite(data: bytearray, chance: random.Random) -> None:
    """Change one to eight bytes, or bits, anywhere."""
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(data))
        data[place] = chance.choice([0, 255, chance.randrange(256), data[place] ^ (1 << chance.randrange(8))])


def damage_head(data: bytearray, chance: random.Random) -> None:
    """Change the first 64 bytes, where sizes and kinds stand."""
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(min(64, len(data)))] = chance.randrange(256)


def cut(data: bytearray, chance: random.Random) -> None:
    """Leave out a stretch."""
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 200)]


def double(data: bytearray, chance: random.Random) -> None:
    """Say a stretch twice."""
    start = chance.randrange(len(data))
    data[start:start] = data[start : start + chance.randint(1, 200)]


@pytest.mark.parametrize("change", [overwrite, damage_head, cut, double])
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_damaged_files(name: str, change: Callable[[bytearray, random.Random], None]) -> None:
    chance = random.Random(f"{name} {change.__name__}")
    refused = 0
    for _ in range(200):
        data = bytearray(SAMPLES[name])
        change(data, chance)
        began = time.monotonic()
        refused += survive(bytes(data)) is None
        assert time.monotonic() - began < 5
    assert refused or name == "bmp" or change is overwrite  # the damage must have been felt


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_truncated_files(name: str) -> None:
    whole = SAMPLES[name]
    expected = survive(whole)
    assert expected is not None
    step = max(1, len(whole) // 60)
    for length in (*range(1, 40), *range(40, len(whole), step), len(whole) - 1):
        found = survive(whole[:length])
        if found is not None:  # what is cut off was no picture data: a trailer, or a second frame
            assert length > len(whole) // 4
            assert found.size == expected.size
            assert np.asarray(found).tobytes() == np.asarray(expected).tobytes(), length


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "tiff"])
@pytest.mark.parametrize("length", [12, 30, 100])
def test_truncated_head_is_broken_rather_than_unsupported(name: str, length: int) -> None:
    with pytest.raises(BrokenImageError, match="truncated or corrupt"):
        decode(SAMPLES[name][:length], LIMITS)


def test_random_bytes() -> None:
    chance = random.Random(0)
    beginnings = [b"", *(data[:size] for data in SAMPLES.values() for size in (4, 12, 20))]
    for _ in range(1000):
        assert survive(chance.choice(beginnings) + chance.randbytes(chance.randint(1, 300))) is None


def test_empty() -> None:
    with pytest.raises(BrokenImageError, match="0 bytes"):
        decode(b"", LIMITS)


UNREADABLE = {
    "text": b"Dear Sir or Madam,",
    "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "json": b'{"detail": "not found"}',
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
    "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100),
    "zip": b"PK\x03\x04" + bytes(60),
    "zeros": bytes(1000),
    "jpeg2000": save(noise(), "JPEG2000"),
    "ppm": save(noise(), "PPM"),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    "ico": save(noise(), "ICO"),
}


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_other_kinds_are_named_as_unsupported(name: str) -> None:
    with pytest.raises(UnsupportedImageError) as caught:
        decode(UNREADABLE[name], LIMITS)
    line = str(caught.value)
    assert "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF" in line
    assert {"pdf": "a PDF", "heic": "HEIC", "svg": "text beginning with '<?xml"}.get(name, "found") in line
    assert line.isprintable()


def test_too_many_bytes() -> None:
    with pytest.raises(ImageTooLargeError, match="expected at most 99, found 100"):
        decode(bytes(100), ImageLimits(max_bytes=99))


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_pixel_limit_is_exact(name: str) -> None:
    decode(SAMPLES[name], ImageLimits(max_pixels=24 * 18))
    with pytest.raises(ImageTooLargeError, match=r"24x18|18x24"):
        decode(SAMPLES[name], ImageLimits(max_pixels=24 * 18 - 1))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large, with a few compressed zeros for pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(100_000))),
        (b"IEND", b""),
    ]
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bombs() -> dict[str, bytes]:
    """Files of a few hundred bytes that ask for gigabytes."""
    jpeg, gif, bmp = bytearray(SAMPLES["jpeg"]), bytearray(SAMPLES["gif"]), bytearray(SAMPLES["bmp"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    avif = SAMPLES["avif"].replace(struct.pack(">II", 24, 18), struct.pack(">II", 16000, 16000))
    tiff = SAMPLES["tiff"].replace(struct.pack("<HHII", 256, 4, 1, 24), struct.pack("<HHII", 256, 4, 1, 10**9))
    webp = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + b"\xff\x3f\x00\xff\x3f\x00"  # 16384 x 16384
    body = b"WEBP" + webp + b"ANIM" + struct.pack("<IIH", 6, 0, 0) + SAMPLES["animation"][44:]
    return {
        "png": png_header(60_000, 60_000),
        "png just over": png_header(7_072, 7_072),
        "png huge": png_header(2**31 - 1, 2**31 - 1),
        "png line": png_header(2**31 - 1, 1),
        "jpeg": bytes(jpeg),
        "gif": bytes(gif),
        "bmp": bytes(bmp),
        "avif": avif,
        "tiff": tiff,
        "webp": b"RIFF" + struct.pack("<I", len(body)) + body,
    }


@pytest.mark.parametrize(("name", "data"), sorted(bombs().items()))
def test_bomb_is_refused_before_memory_is_used(name: str, data: bytes) -> None:
    before, began = peak_memory(), time.monotonic()
    with pytest.raises(ImageError) as caught:
        decode(data, LIMITS)
    assert peak_memory() - before < 40 * 2**20
    assert time.monotonic() - began < 1
    if name not in ("avif", "webp"):  # whose decoders look through the file before they say a size
        assert isinstance(caught.value, ImageTooLargeError)


def peak_memory() -> int:
    """Bytes of memory that this process has had at most: the kernel's count, so C libraries are in it."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_bomb_in_a_text_chunk() -> None:
    text = b"Comment\x00\x00" + zlib.compress(bytes(70 * 2**20), 1)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    data = SAMPLES["png"]
    before = peak_memory()
    survive(data[:33] + chunk + data[33:], LIMITS)
    assert peak_memory() - before < 40 * 2**20


def test_threads_do_not_disturb_each_other() -> None:
    expected = {name: np.asarray(decode(data, SMALL)).tobytes() for name, data in SAMPLES.items()}
    wrong: list[str] = []

    def work() -> None:
        for _ in range(10):
            wrong.extend(
                name for name, data in SAMPLES.items() if np.asarray(decode(data, SMALL)).tobytes() != expected[name]
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_jpeg_of_many_scans_is_refused_at_once() -> None:
    """Each goes over all of the pixels again: a megabyte of them keeps the decoder busy for half a minute."""
    data = save(Image.new("RGB", (4000, 4000), (200, 30, 30)), "JPEG", progressive=True)
    whole, scan = data[:-2], data[data.rindex(b"\xff\xda") : -2]
    started = time.perf_counter()
    with pytest.raises(BrokenImageError, match="too many scans"):
        decode(whole + scan * 2000 + b"\xff\xd9", LIMITS)
    assert time.perf_counter() - started < 1
    assert decode(whole + scan * 20 + b"\xff\xd9", LIMITS).size == (4000, 4000)


def test_what_only_looks_like_scans_is_no_reason() -> None:
    """Within a segment, such as a thumbnail, and after the end, such as a film."""
    data = save(noise(), "JPEG", progressive=True)
    inside = b"\xff\xe5" + (40_002).to_bytes(2, "big") + b"\xff\xda" * 20_000
    assert decode(data[:2] + inside + data[2:] + b"\xff\xda\x00\x02" * 5000, LIMITS).size == (24, 18)
