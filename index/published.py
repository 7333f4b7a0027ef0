"""A picture file as it may go out to strangers: the same pixels, and nothing that says where, when or by whom.

JPEG, PNG, WebP and GIF lose the segments that carry EXIF, GPS, XMP, IPTC, comments and text, and whatever comes after
the picture's end; not a pixel is coded again. What decides how the pixels look stays: the colour profile and, as the
only EXIF field, the orientation. TIFF, AVIF and files whose segments can not be followed go out as a PNG of the upright
picture.
What may change here: which segments are known to be harmless. Not: that one which is unknown is left out.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

from index.errors import ImageError, OriginalMissingError
from index.images import ImageLimits, decode
from index.originals import PictureFile

_EOI = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in coded data; FF00 is data, FFD0 to FFD7 restart it
_PNG_KEPT = frozenset(
    [
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"sBIT"),
        *(b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"cICP", b"mDCV", b"cLLI"),  # colours
        *(b"acTL", b"fcTL", b"fdAT"),  # animation
    ]
)
_PNG_START = b"\x89PNG\r\n\x1a\n"
_WEBP_KEPT = frozenset([b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"])
_GIF_LOOP = b"NETSCAPE2.0"


class _UnknownStructureError(Exception):
    """The file is not built as its format says."""


def publish(file: PictureFile, limits: ImageLimits) -> PictureFile:
    """The file without its metadata. Raises OriginalMissingError where it is no picture any more."""
    strip = {"image/jpeg": _strip_jpeg, "image/png": _strip_png, "image/webp": _strip_webp, "image/gif": _strip_gif}
    if file.media_type == "image/bmp":  # has no room for any
        return file
    try:
        if file.media_type in strip:
            return PictureFile(strip[file.media_type](file.data), file.media_type)
    except (_UnknownStructureError, IndexError, struct.error):
        pass
    return PictureFile(_draw_again(file.data, limits), "image/png")


def _draw_again(data: bytes, limits: ImageLimits) -> bytes:
    try:
        image = decode(data, limits)
    except ImageError as error:
        raise OriginalMissingError("the picture can not be read any more", remedy="index its source again") from error
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _find_orientation(data: bytes) -> int:
    """1 to 8, as decoders of this file see it; 1 where the metadata is damaged."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = int(image.getexif().get(int(ExifTags.Base.Orientation), 1))
    except Exception:
        return 1
    return found if 1 <= found <= 8 else 1


def _make_exif(orientation: int) -> bytes:
    """A TIFF block of one field, as the EXIF standard has it."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


# JPEG: marker segments, then coded data, perhaps several times


def _strip_jpeg(data: bytes) -> bytes:
    pieces = [data[:2]]
    dropped = False
    for kind, segment in _read_jpeg(data):
        if _is_kept(kind, segment):
            pieces.append(segment)
        else:
            dropped = True
    orientation = _find_orientation(data) if dropped else 1
    if orientation != 1:
        exif = b"Exif\0\0" + _make_exif(orientation)
        place = 2 if pieces[1].startswith(b"\xff\xe0") else 1  # JFIF comes first
        pieces.insert(place, b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    return b"".join(pieces)


def _read_jpeg(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, whole segment with its coded data) up to and with the end of the first picture."""
    place = 2
    while True:
        while data[place : place + 2] == b"\xff\xff":  # fill bytes
            place += 1
        if data[place] != 0xFF:
            raise _UnknownStructureError
        kind = data[place + 1]
        if data[place : place + 2] == _EOI:
            yield kind, _EOI
            return
        (length,) = struct.unpack_from(">H", data, place + 2)
        end = place + 2 + length
        if length < 2 or end > len(data):
            raise _UnknownStructureError
        if kind == 0xDA:  # start of scan: coded data follows, up to the next marker
            after = _MARKER.search(data, end)
            if after is None:  # cut short; decoders show what there is
                raise _UnknownStructureError
            end = after.start()
        yield kind, data[place:end]
        place = end


def _is_kept(kind: int, segment: bytes) -> bool:
    """Of APP0 to APP15 and COM: JFIF, the colour profile, and Adobe's note on the colour transform."""
    body = segment[4:]
    if 0xE0 <= kind <= 0xEF:
        return (
            (kind == 0xE0 and body.startswith(b"JFIF\0"))
            or (kind == 0xE2 and body.startswith(b"ICC_PROFILE\0"))
            or (kind == 0xEE and body.startswith(b"Adobe") and len(segment) <= 16)
        )
    return kind != 0xFE


# PNG: chunks


def _strip_png(data: bytes) -> bytes:
    pieces, dropped, place = [_PNG_START], False, len(_PNG_START)
    while True:
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if end > len(data):
            raise _UnknownStructureError
        if kind in _PNG_KEPT:
            pieces.append(data[place:end])
        else:
            dropped = True
        place = end
        if kind == b"IEND":
            break
    orientation = _find_orientation(data) if dropped else 1
    if orientation != 1:
        body = b"eXIf" + _make_exif(orientation)
        pieces.insert(2, struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    return b"".join(pieces)


# WebP: RIFF chunks


def _strip_webp(data: bytes) -> bytes:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise _UnknownStructureError
    pieces, dropped, place = [], False, 12
    while place < size + 8:
        kind, (length,) = data[place : place + 4], struct.unpack_from("<I", data, place + 4)
        end = place + 8 + length + length % 2
        if end > len(data):
            raise _UnknownStructureError
        if kind in _WEBP_KEPT:
            pieces.append(data[place:end])
        else:
            dropped = True
        place = end
    orientation = _find_orientation(data) if dropped else 1
    if dropped and pieces and pieces[0].startswith(b"VP8X"):
        flags = pieces[0][8] & ~0x0C | (0x08 if orientation != 1 else 0)  # EXIF, XMP
        pieces[0] = pieces[0][:8] + bytes([flags]) + pieces[0][9:]
        if orientation != 1:
            exif = _make_exif(orientation)
            pieces.append(b"EXIF" + struct.pack("<I", len(exif)) + exif)
    body = b"WEBP" + b"".join(pieces)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# GIF: blocks


def _strip_gif(data: bytes) -> bytes:
    place = 13 + _count_colours(data[10])
    pieces = [data[:place]]
    while True:
        start, kind = place, data[place]
        if kind == 0x3B:  # trailer
            return b"".join([*pieces, b"\x3b"])
        if kind == 0x2C:  # a picture
            place = _skip_blocks(data, place + 11 + _count_colours(data[place + 9]))
            pieces.append(data[start:place])
        elif kind == 0x21:  # an extension
            place = _skip_blocks(data, place + 2)
            loop = data[start + 1] == 0xFF and data[start + 3 : start + 14] == _GIF_LOOP
            if data[start + 1] == 0xF9 or loop:  # timing and transparency; how often to repeat
                pieces.append(data[start:place])
        else:
            raise _UnknownStructureError


def _count_colours(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(data: bytes, place: int) -> int:
    """The place after a chain of blocks, each with its length before it."""
    while length := data[place]:
        place += length + 1
    return place + 1
