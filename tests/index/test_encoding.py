"""What every write begins with: a vector, a thumbnail, and a copy where the picture lies nowhere else."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.encoder import Encoder
from index.encoding import SkippedPicture, encode_picture, explain_skip, hash_content, relate_path
from index.errors import ImageError, IndexFullError, UsageError, VectorError
from index.layout import Layout
from index.thumbnails import draw_thumbnail
from tests.drawn_pictures import draw_picture

DATA = draw_picture("red", 1, "JPEG")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A folder, with room."""
    layout = Layout(tmp_path / "index")
    layout.originals.mkdir(parents=True)
    return layout


def files_in(layout: Layout) -> set[str]:
    return {path.relative_to(layout.folder).as_posix() for path in layout.folder.rglob("*") if path.is_file()}


def test_a_sources_picture(layout: Layout, tiny_encoder: Encoder) -> None:
    encoded = encode_picture(layout, tiny_encoder, DATA, "red/1.jpg")
    digest = hashlib.sha256(DATA).hexdigest()
    assert (encoded.content_hash, encoded.path) == (digest, "red/1.jpg")
    assert encoded.model == tiny_encoder.bundle.manifest.model_id
    assert np.array_equal(encoded.vector, tiny_encoder.encode_bytes(DATA))
    assert files_in(layout) - {"reserve"} == {f"thumbnails/{digest[:2]}/{digest}.jpg"}
    with Image.open(io.BytesIO(DATA)) as image:
        assert layout.thumbnail(digest).read_bytes() == draw_thumbnail(image.convert("RGB"))


def test_one_that_lies_nowhere_else(layout: Layout, tiny_encoder: Encoder) -> None:
    encoded = encode_picture(layout, tiny_encoder, DATA, None)
    assert encoded.path is None
    assert layout.original(encoded.content_hash).read_bytes() == DATA
    assert layout.thumbnail(encoded.content_hash).is_file()


@pytest.mark.parametrize("path", [None, "red/1.jpg"])
@pytest.mark.parametrize("data", [b"", b"no picture", DATA[:200]])
def test_no_picture_leaves_nothing(layout: Layout, tiny_encoder: Encoder, data: bytes, path: str | None) -> None:
    with pytest.raises(ImageError):
        encode_picture(layout, tiny_encoder, data, path)
    assert files_in(layout) <= {"reserve"}


def test_no_vector_leaves_nothing(layout: Layout, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise VectorError("the vector is not finite or has no length")

    monkeypatch.setattr(Encoder, "encode", refuse)
    with pytest.raises(VectorError):
        encode_picture(layout, tiny_encoder, DATA, None)
    assert files_in(layout) <= {"reserve"}


def test_a_full_disk_is_refused_before_any_work(
    layout: Layout, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.reserve.measure_free", lambda folder: 0)
    with pytest.raises(IndexFullError, match="the disk is full: nothing was written"):
        encode_picture(layout, tiny_encoder, DATA, None)
    assert files_in(layout) == set()


def test_a_reason_without_the_path() -> None:
    assert explain_skip("k", ImageError("broken", where="/a/b.jpg", found="x")) == SkippedPicture(
        "k", "broken (found x)"
    )
    assert explain_skip("k", UsageError("wrong")) == SkippedPicture("k", "wrong")


def test_paths_are_relative_where_they_can_be() -> None:
    assert relate_path(Path("/a/b/c.png"), Path("/a")) == "b/c.png"
    assert relate_path(Path("/b/c.png"), Path("/a")) == "/b/c.png"
    assert hash_content(b"") == hashlib.sha256(b"").hexdigest()
