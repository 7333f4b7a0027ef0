"""Pictures -> 256 px JPEG thumbnails for the page. Derived: any of them can be made again from its picture.

A comment at the start of each JPEG holds a CRC-32 of the rest, by which a changed byte is found.
"""

from __future__ import annotations

import io
import zlib

from PIL import Image

SIDE = 256  # pixels, the longer side
_QUALITY = 85
_START = b"\xff\xd8"  # of a JPEG
_COMMENT = b"\xff\xfe\x00\x10crc32 "  # a comment of 16 bytes: its length, "crc32 ", eight digits


def draw_thumbnail(image: Image.Image) -> bytes:
    """A JPEG of an upright RGB picture, at most 256 px on the longer side, the aspect kept, nothing enlarged."""
    small = image.copy()
    small.info.clear()  # Pillow would write a comment of the original into the JPEG
    small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return _mark(buffer.getvalue().removeprefix(_START))


def is_whole(data: bytes) -> bool:
    """Whether a thumbnail's bytes are the ones that were drawn."""
    return data == _mark(data[len(_START) + len(_COMMENT) + 8 :])


def _mark(rest: bytes) -> bytes:
    return _START + _COMMENT + f"{zlib.crc32(rest):08x}".encode() + rest
