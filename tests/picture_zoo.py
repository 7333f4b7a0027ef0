"""Picture files of every kind that people and attackers send, crafted from the drawn pictures.

What may change here: more kinds. The bytes are the same on every run of one Pillow.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.drawn_pictures import COLOURS, draw_picture

FRAMES = 100_000


def save(image: Image.Image, format_: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def drawn(label: str = "red", number: int = 0) -> Image.Image:
    """A drawn picture as pixels."""
    return Image.open(io.BytesIO(draw_picture(label, number))).convert("RGB")


def plain(label: str, width: int, height: int) -> Image.Image:
    """One colour all over."""
    return Image.new("RGB", (width, height), COLOURS[label])


def turned(format_: str, orientation: int) -> bytes:
    """A picture that lies on its side and says in its EXIF how to turn it upright."""
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 100, "subsampling": 0} if format_ == "JPEG" else {}
    return save(drawn().transpose(undo[orientation]), format_, exif=exif.tobytes(), **options)


def deep(low: int, high: int) -> bytes:
    """A 16-bit grey PNG."""
    values = np.linspace(low, high, 60 * 56).reshape(60, 56).astype(np.uint16)
    return save(Image.fromarray(values), "PNG")


def zipped() -> bytes:
    """A ZIP archive with a script in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run.sh", "echo hello")
    return buffer.getvalue()


# Kinds that are answered: name -> (bytes, the label of the nearest item)

RED = "red"


def good() -> dict[str, tuple[bytes, str]]:
    """Files that are pictures, and what they look like."""
    red, blue = drawn(), drawn("blue")
    other = [blue] * 3
    palette = red.quantize(64)
    clear = red.convert("RGBA")
    clear.putalpha(0)
    html = b"<script>alert(1)</script>"
    return {
        **{
            format_.lower(): (save(red, format_), RED)
            for format_ in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
        },
        "jpeg, progressive": (save(red, "JPEG", progressive=True), RED),
        "jpeg, CMYK": (save(red.convert("CMYK"), "JPEG", quality=95), RED),
        "jpeg, grey": (save(drawn("white").convert("L"), "JPEG"), "white"),
        "tiff, CMYK": (save(red.convert("CMYK"), "TIFF"), RED),
        "tiff, several pages": (save(red, "TIFF", save_all=True, append_images=other), RED),
        "tiff, LZW": (save(red, "TIFF", compression="tiff_lzw"), RED),
        "gif, animated": (save(red, "GIF", save_all=True, append_images=other), RED),
        "webp, animated": (save(red, "WEBP", save_all=True, append_images=other), RED),
        "png, animated": (save(red, "PNG", save_all=True, append_images=other), RED),
        "avif, animated": (save(red, "AVIF", save_all=True, append_images=other, speed=10), RED),
        "mpo": (save(red, "MPO", save_all=True, append_images=other), RED),
        "png, palette": (save(palette, "PNG"), RED),
        "bmp, palette": (save(palette, "BMP"), RED),
        "png, 16-bit dark": (deep(2000, 5000), "black"),
        "png, 16-bit bright": (deep(58000, 62000), "white"),
        "png, one bit": (save(Image.new("1", (50, 50), 1), "PNG"), "white"),
        "png, all clear": (save(clear, "PNG"), "white"),
        **{f"png, turned {turn}": (turned("PNG", turn), RED) for turn in (3, 6, 8)},
        **{f"jpeg, turned {turn}": (turned("JPEG", turn), RED) for turn in (3, 6, 8)},
        "1x1": (save(plain(RED, 1, 1), "PNG"), RED),
        "1x1 gif": (save(plain("blue", 1, 1), "GIF"), "blue"),
        "1x400": (save(plain("green", 1, 400), "PNG"), "green"),
        "4000x1": (save(plain("yellow", 4000, 1), "PNG"), "yellow"),
        **{f"plain {label}": (save(plain(label, 64, 64), "PNG"), label) for label in COLOURS},
        "gif and script": (b"GIF89a" + save(red, "GIF")[6:] + b"/*" + html + b"*/", RED),
        "jpeg, then a PDF": (save(red, "JPEG") + b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF", RED),
        "jpeg, a page in its comment": (save(red, "JPEG", comment=html), RED),
        "png, then a ZIP": (save(red, "PNG") + zipped(), RED),
        "png, then a page": (save(red, "PNG") + html, RED),
    }


# Kinds that are refused: name -> (bytes, status)


def bad() -> dict[str, tuple[bytes, int]]:
    """Files that are no pictures, or damaged ones, and what they get."""
    red = drawn()
    jpeg, png = save(red, "JPEG"), save(red, "PNG")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:1/x.png"/></svg>'
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + bytes(100)
    return {
        "text": (b"hello", 415),
        "svg": (svg, 415),
        "xml with an entity": (
            b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
            415,
        ),
        "an address": (b"http://127.0.0.1:1/picture.png", 415),
        "PDF": (b"%PDF-1.7\n" + bytes(100), 415),
        "PDF, then a jpeg": (b"%PDF-1.7\n" + jpeg, 415),
        "ZIP, then a png": (zipped() + png, 415),
        "a page, then a png": (b"<html>" + png, 415),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(run) run\n", 415),
        "HEIC": (heic, 415),
        "ICO": (save(red, "ICO"), 415),
        "PPM": (save(red, "PPM"), 415),
        "TGA": (save(red, "TGA"), 415),
        "JPEG 2000": (save(red, "JPEG2000"), 415),
        "MZ": (b"MZ" + bytes(200), 415),
        "jpeg, cut": (jpeg[: len(jpeg) // 2], 422),
        "png, cut": (png[: len(png) // 2], 422),
        "gif, cut": (save(red, "GIF")[:200], 422),
        "webp, cut": (save(red, "WEBP")[:100], 422),
        "tiff, cut": (save(red, "TIFF")[:500], 422),
        "bmp, cut": (save(red, "BMP")[:500], 422),
        "avif, cut": (save(red, "AVIF")[:-50], 422),
        "jpeg, head alone": (b"\xff\xd8\xff\xe0", 422),
        "png, wrong checksum": (png[:60] + bytes([png[60] ^ 1]) + png[61:], 422),
        "png, bomb": (png_of_size(50_000, 50_000), 413),
        "png, no width": (png_of_size(0, 10), 422),
        "gif, bomb": (gif(65_000, 65_000, frames=1), 413),
        "bmp, bomb": (bmp_of_size(60_000, 60_000), 413),
        "jpeg, bomb of scans": (jpeg_of_scans(2000), 422),
    }


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and has a few kilobytes of well-packed zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(2_000_000), 9)) + chunk(b"IEND", b"")


def jpeg_of_scans(scans: int) -> bytes:
    """A JPEG of 16 megapixels whose last scan, of a few bytes, comes again and again."""
    data = save(plain(RED, 4000, 4000), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + data[-2:]


def bmp_of_size(width: int, height: int) -> bytes:
    """A BMP that claims a size."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(info), 0, 0, 54) + info + bytes(1000)


# Pictures of very many frames, of which the first alone may cost anything


def gif(width: int, height: int, frames: int, colour: tuple[int, int, int] = COLOURS["red"]) -> bytes:
    """A GIF of one colour; each frame after the first is 1x1."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\x00\x00" + bytes(colour) + bytes(3)
    pixel = b"\x02\x02\x44\x01\x00"  # one pixel of colour 0, LZW
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\x00" + pixel
    return head + frame * frames + b"\x3b"


def webp(frames: int) -> bytes:
    """An animated WebP: the first frame, over and over."""
    data = save(drawn(), "WEBP", save_all=True, append_images=[drawn("blue")], duration=10, minimize_size=False)
    start = data.index(b"ANMF")
    length = 8 + int.from_bytes(data[start + 4 : start + 8], "little")
    frame = data[start : start + length + length % 2]
    body = data[12:start] + frame + (save_small_frame() * (frames - 1))
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def save_small_frame() -> bytes:
    """An ANMF chunk of 1x1 pixels."""
    still = save(plain("blue", 1, 1), "WEBP", lossless=True)
    payload = bytes(6) + bytes(3) + bytes(3) + b"\x0a\x00\x00\x00" + still[12:]
    return b"ANMF" + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)


def tiff(pages: int) -> bytes:
    """A TIFF whose pages all lie behind the first: each directory has one tag and points to the next."""
    first = save(drawn(), "TIFF")
    data = bytearray(first)
    at = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[at : at + 2], "little")
    link = at + 2 + 12 * count
    data += bytes(len(data) % 2)
    start = len(data)
    data[link : link + 4] = struct.pack("<I", start)
    entry = struct.pack("<HHHII", 1, 256, 4, 1, 1)  # ImageWidth = 1
    size = len(entry) + 4
    for page in range(pages - 1):
        after = 0 if page == pages - 2 else start + size * (page + 1)
        data += entry + struct.pack("<I", after)
    return bytes(data)


def avif(frames: int) -> bytes:
    """An AVIF of tiny frames; its first is red."""
    return save(
        plain("red", 16, 16), "AVIF", save_all=True, append_images=[plain("blue", 16, 16)] * (frames - 1), speed=10
    )
