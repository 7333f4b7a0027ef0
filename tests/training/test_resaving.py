from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.bundle import Bundle
from index.encoder import Encoder
from index.sources import read_source
from training.resaving import measure_same_picture, save_again


def test_a_picture_is_saved_again_at_half_the_size(tiny_encoder: Encoder, drawn_pictures: Path) -> None:
    path = next(drawn_pictures.rglob("*.png"))
    with Image.open(path) as before, Image.open(io.BytesIO(save_again(path.read_bytes(), tiny_encoder))) as after:
        assert (after.format, after.size) == ("JPEG", (before.width // 2, before.height // 2))


def test_all_but_one_in_a_hundred_score_so_much(
    tiny_bundle: Bundle, tiny_encoder: Encoder, drawn_pictures: Path
) -> None:
    pictures = read_source(drawn_pictures).pictures
    threshold = measure_same_picture(tiny_bundle, pictures)
    vectors = [tiny_encoder.encode_file(picture.path) for picture in pictures]
    again = [tiny_encoder.encode_bytes(save_again(picture.path.read_bytes(), tiny_encoder)) for picture in pictures]
    own = np.einsum("nd,nd->n", np.stack(vectors), np.stack(again))
    assert np.sort(own)[0] <= threshold + 1e-6
    assert threshold == pytest.approx(np.quantile(own, 0.01), abs=1e-5)
    other = np.stack(vectors) @ np.stack(again).T
    labels = np.array([picture.label for picture in pictures])
    assert (other[labels[:, None] != labels] < threshold).all()


def test_of_many_pictures_a_sample_is_taken(
    tiny_bundle: Bundle, drawn_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = read_source(drawn_pictures).pictures
    monkeypatch.setattr("training.resaving.SAMPLE", 3)
    asked: list[str] = []
    encode = Encoder.encode_bytes

    def note(encoder: Encoder, data: bytes) -> object:
        asked.append("")
        return encode(encoder, data)

    monkeypatch.setattr(Encoder, "encode_bytes", note)
    measure_same_picture(tiny_bundle, pictures)
    assert len(asked) == 6
