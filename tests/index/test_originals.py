"""An item's picture comes back as it was indexed, or not at all."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from index.catalog import PictureRecord
from index.errors import OriginalMissingError
from index.images import ImageLimits
from index.layout import Layout, write_whole
from index.originals import PictureFile, locate_original, read_original, read_thumbnail, sniff_media_type
from index.thumbnails import draw_thumbnail, is_whole
from tests.drawn_pictures import draw_picture

LIMITS = ImageLimits()
DATA = draw_picture("red", 1, "JPEG")
HASH = hashlib.sha256(DATA).hexdigest()


def make_record(path: str | None, root: Path | None) -> PictureRecord:
    """The picture of item 1, with the content of DATA."""
    return PictureRecord(1, 1, "key", HASH, path, None if root is None else str(root))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An index's folder."""
    return Layout(tmp_path / "index")


@pytest.fixture
def record(tmp_path: Path) -> PictureRecord:
    """A picture that lies in a source's folder."""
    path = tmp_path / "source" / "red" / "1.png"  # called what it is not
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    return make_record("red/1.png", tmp_path / "source")


def test_the_bytes_that_were_indexed(layout: Layout, record: PictureRecord) -> None:
    assert read_original(layout, record, LIMITS) == PictureFile(DATA, "image/jpeg")


def test_one_that_came_over_http(layout: Layout) -> None:
    record = make_record(None, None)
    write_whole(layout.original(HASH), DATA)
    assert locate_original(layout, record) == layout.original(HASH)
    assert read_original(layout, record, LIMITS).data == DATA


def test_a_picture_anywhere_on_the_disk(layout: Layout, record: PictureRecord, tmp_path: Path) -> None:
    (tmp_path / "away.jpg").write_bytes(DATA)
    away = make_record(str(tmp_path / "away.jpg"), tmp_path / "source")
    assert read_original(layout, away, LIMITS).data == DATA


def test_a_changed_picture_is_refused(layout: Layout, record: PictureRecord) -> None:
    locate_original(layout, record).write_bytes(draw_picture("blue", 1, "JPEG"))
    with pytest.raises(OriginalMissingError, match="has changed since it was indexed; index its source again"):
        read_original(layout, record, LIMITS)


def test_a_missing_picture_is_refused(layout: Layout, record: PictureRecord) -> None:
    locate_original(layout, record).unlink()
    with pytest.raises(OriginalMissingError, match="no longer where it was indexed"):
        read_original(layout, record, LIMITS)
    with pytest.raises(OriginalMissingError):
        read_thumbnail(layout, record, LIMITS)


def test_the_stored_thumbnail(layout: Layout, record: PictureRecord) -> None:
    stored = draw_thumbnail(Image.new("RGB", (9, 9)))
    write_whole(layout.thumbnail(HASH), stored)
    locate_original(layout, record).unlink()  # which it does not need
    assert read_thumbnail(layout, record, LIMITS) == PictureFile(stored, "image/jpeg")


@pytest.mark.parametrize("left", [b"", b"no thumbnail", b"half"])
def test_a_torn_thumbnail_is_drawn_anew(layout: Layout, record: PictureRecord, left: bytes) -> None:
    """Thumbnails are not synced, so a power cut may leave this."""
    whole = read_thumbnail(layout, record, LIMITS)
    layout.thumbnail(HASH).write_bytes(whole.data[:100] if left == b"half" else left)
    assert read_thumbnail(layout, record, LIMITS) == whole
    assert layout.thumbnail(HASH).read_bytes() == whole.data


def test_a_thumbnail_that_can_not_be_kept_is_served(
    layout: Layout, record: PictureRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("index.originals.write_whole", refuse)
    assert is_whole(read_thumbnail(layout, record, LIMITS).data)
    assert not layout.thumbnail(HASH).exists()


def test_a_missing_thumbnail_is_drawn_and_kept(layout: Layout, record: PictureRecord) -> None:
    first = read_thumbnail(layout, record, LIMITS)
    with Image.open(io.BytesIO(DATA)) as image:
        assert first.data == draw_thumbnail(image.convert("RGB"))
    assert layout.thumbnail(HASH).read_bytes() == first.data
    locate_original(layout, record).unlink()
    assert read_thumbnail(layout, record, LIMITS) == first


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_media_types(format_: str, expected: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format_)
    assert sniff_media_type(buffer.getvalue()) == expected


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"<svg xmlns='x'/>", b"<html><script>"])
def test_nothing_else_is_called_a_picture(data: bytes) -> None:
    assert sniff_media_type(data) == "application/octet-stream"
