"""The pictures that items were indexed from and their thumbnails: there, and what they were.

What may change here: more kinds of file. Not: that a source's own files are its owner's to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from index.catalog import PictureRecord
from index.findings import Cure, Finding, fault, note
from index.layout import Layout
from index.manifest import file_digest
from index.originals import locate_original
from index.thumbnails import is_whole

_SHOWN = 5  # keys
_PAGE = 4096  # bytes that a power cut leaves or takes together


def check_pictures(layout: Layout, records: Iterable[PictureRecord], needed: set[int]) -> Iterator[Finding]:
    """Missing and changed pictures, and thumbnails that are not what was drawn from them.

    `needed`: ids of pictures that have to be encoded again. The index answers without the others: one that a source
    changed is for `index build --update`, and items that were imported as vectors never had any.
    """
    digests: dict[Path, str | None] = {}
    drawable: dict[str, PictureRecord] = {}  # by content
    without: list[str] = []  # keys
    for record in records:
        path = locate_original(layout, record)
        if path not in digests:
            digests[path] = _find_digest(path)
        if digests[path] == record.content_hash:
            drawable.setdefault(record.content_hash, record)
        elif digests[path] is None and record.path is None and record.id not in needed:
            without.append(record.key)
        else:
            what = "is missing" if digests[path] is None else "has changed since it was indexed"
            harmless = record.path is not None and record.id not in needed
            yield (note if harmless else fault)(f"the picture of {record.key} {what}", path)
    if without:
        named = f"{', '.join(without[:_SHOWN])}{', ...' if len(without) > _SHOWN else ''}"
        yield note(f"{len(without)} items have no picture here: {named}", layout.folder / "originals")
    for record in drawable.values():
        yield from _check_thumbnail(layout.thumbnail(record.content_hash), record)


def _find_digest(path: Path) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None


def _check_thumbnail(path: Path, record: PictureRecord) -> Iterator[Finding]:
    """Missing and torn ones are what an interruption leaves, and are drawn when they are asked for."""
    try:
        data = path.read_bytes()
    except OSError:
        yield note(f"the thumbnail of {record.key} is missing", path, Cure.THUMBNAIL, picture=record.id)
        return
    if not is_whole(data):
        report = note if _is_torn(data) else fault
        yield report(f"the thumbnail of {record.key} is damaged", path, Cure.THUMBNAIL, picture=record.id)


def _is_torn(data: bytes) -> bool:
    """Whether pages of an unsynced file are missing: it is empty, ends with a page but not a JPEG's end, or has a
    page of zeros.
    """
    if len(data) % _PAGE == 0 and not data.endswith(b"\xff\xd9"):
        return True
    pages = (data[start : start + _PAGE] for start in range(0, len(data), _PAGE))
    return any(not any(page) for page in pages)
