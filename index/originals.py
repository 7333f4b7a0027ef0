"""The picture an item was indexed from, and its thumbnail, as files: found, checked, read."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from index.catalog import PictureRecord
from index.errors import ImageError, OriginalMissingError
from index.images import ImageLimits, decode, read_bytes
from index.layout import Layout, write_whole
from index.thumbnails import SIDE, draw_thumbnail, is_whole


@dataclass(frozen=True)
class PictureFile:
    """The bytes of a picture file and what they are called on the web."""

    data: bytes
    media_type: str


_SIGNATURES = (  # first bytes, where they are, media type
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"ftypavi", 4, "image/avif"),
    (b"BM", 0, "image/bmp"),
    (b"II*\x00", 0, "image/tiff"),
    (b"MM\x00*", 0, "image/tiff"),
)


def read_original(layout: Layout, record: PictureRecord, limits: ImageLimits) -> PictureFile:
    """An item's picture, exactly the bytes that were indexed. Raises OriginalMissingError."""
    path = locate_original(layout, record)
    try:
        data = read_bytes(path, limits)
    except ImageError as error:
        raise OriginalMissingError(
            "the picture is no longer where it was indexed", remedy="index its source again"
        ) from error
    if hashlib.sha256(data).hexdigest() != record.content_hash:
        raise OriginalMissingError("the picture has changed since it was indexed", remedy="index its source again")
    return PictureFile(data, sniff_media_type(data))


def locate_original(layout: Layout, record: PictureRecord) -> Path:
    """Where an item's picture should be."""
    if record.path is None or record.root is None:
        return layout.original(record.content_hash)
    return Path(record.root) / record.path


def read_thumbnail(layout: Layout, record: PictureRecord, limits: ImageLimits) -> PictureFile:
    """An item's thumbnail, drawn anew from its picture where it is missing. Raises OriginalMissingError."""
    path = layout.thumbnail(record.content_hash)
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        if is_whole(data):  # a power cut may leave half of one: thumbnails are not synced
            return PictureFile(data, "image/jpeg")
    original = read_original(layout, record, limits)
    thumbnail = draw_thumbnail(decode(original.data, limits, reduce_to=2 * SIDE))
    with contextlib.suppress(OSError):  # a read-only folder, a full disk: it is drawn again next time
        write_whole(path, thumbnail, durable=False)
    return PictureFile(thumbnail, "image/jpeg")


def sniff_media_type(data: bytes) -> str:
    """The media type that the first bytes say, whatever the file is called."""
    for signature, offset, media_type in _SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return media_type
    return "application/octet-stream"
