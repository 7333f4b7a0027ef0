"""`embed`: the vectors of a source in a file, the same that an index of it holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.embedding import embed_source
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.errors import SourceError
from index.sources import read_source
from index.vector_files import iterate_vectors


@pytest.mark.parametrize("name", ["x.parquet", "x.npy"])
def test_every_picture_in_order(
    own_pictures: Path,
    tmp_path: Path,
    tiny_bundle: Bundle,
    tiny_encoder: Encoder,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("index.embedding.ROWS", 10)
    (own_pictures / "blue/broken.png").write_text("no picture")
    source = read_source(own_pictures)
    seen: list[tuple[int, int]] = []
    report = embed_source(
        source, EncoderPool(tiny_bundle, 2), tmp_path / name, lambda done, total: seen.append((done, total))
    )
    assert report.embedded == 24
    assert [skip.key for skip in report.skipped] == ["blue/broken.png"]
    assert seen[-1] == (25, 25)
    blocks = list(iterate_vectors(tmp_path / name))
    records = [record for block in blocks for record in block.records]
    pictures = [picture for picture in source.pictures if picture.key != "blue/broken.png"]
    assert [(one.key, one.label) for one in records] == [(one.key, one.label) for one in pictures]
    data = pictures[7].path.read_bytes()
    assert records[7].content_hash == hashlib.sha256(data).hexdigest()
    rows = [row for block in blocks for row in block.vectors]
    assert rows[7].tobytes() == tiny_encoder.encode_bytes(data).tobytes()
    assert {model for block in blocks for model in block.models} == {tiny_bundle.manifest.model_id}


def test_source_without_one_picture(tmp_path: Path, tiny_bundle: Bundle) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_text("no picture")
    with pytest.raises(SourceError, match="not one of 1 files is a picture"):
        embed_source(read_source(tmp_path / "bad"), EncoderPool(tiny_bundle, 1), tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]
