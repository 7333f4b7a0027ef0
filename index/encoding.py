"""A picture file -> its vector and, on disk, its thumbnail (and, where asked, a copy): what every write begins with.

All of it happens before a transaction opens. What may change here: how the thumbnail is drawn ahead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from index.encoder import Encoder
from index.errors import CrossmatchError
from index.images import decode
from index.layout import Layout, write_once, write_whole
from index.preprocess import preprocess, reduce_to
from index.reserve import explain_full, is_full, require_room
from index.thumbnails import draw_thumbnail
from index.writer import EncodedPicture


@dataclass(frozen=True)
class SkippedPicture:
    """A file that could not be indexed, and why."""

    key: str
    reason: str


def hash_content(data: bytes) -> str:
    """SHA-256 of a picture file, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def encode_picture(layout: Layout, encoder: Encoder, data: bytes, path: str | None) -> EncodedPicture:
    """Decode a picture file once: its vector, and its thumbnail on disk.

    `path`: where the file lies, relative to its source's root; None: a copy is put into originals/, which the writer
    syncs before its transaction, many at a time, so that no encoder waits for a disk.
    Raises ImageError, VectorError or IndexFullError, with nothing left on disk.
    """
    require_room(layout.folder)
    rule = encoder.bundle.manifest.preprocessing
    image = decode(data, encoder.limits, reduce_to=reduce_to(rule))
    vector = encoder.encode(preprocess(image, rule))
    content_hash = hash_content(data)
    try:
        write_whole(layout.thumbnail(content_hash), draw_thumbnail(image), durable=False)
        if path is None:
            write_once(layout.original(content_hash), data)
    except OSError as error:
        if not is_full(error):
            raise
        raise explain_full(layout.folder) from error
    return EncodedPicture(content_hash, path, vector, encoder.bundle.manifest.model_id, copied=path is None)


def explain_skip(key: str, error: CrossmatchError) -> SkippedPicture:
    """The error's line without the path: the key stands before it in every report."""
    return SkippedPicture(key, error.reason)


def relate_path(path: Path, root: Path) -> str:
    """A picture's path relative to its source's root; a manifest may name pictures anywhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()
