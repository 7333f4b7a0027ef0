"""The pictures that a bundle is checked with."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from index.golden_pictures import draw_golden_pictures
from index.images import ImageLimits, decode
from index.preprocess import Preprocessing, preprocess_bytes, reduce_to

RULE = Preprocessing(resize=256, input_size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


Pictures = tuple[bytes, ...]


@pytest.fixture(scope="module")
def golden() -> Pictures:
    """Drawn once: it takes most of a second."""
    return draw_golden_pictures()


def test_same_every_time(golden: Pictures) -> None:
    assert draw_golden_pictures() == golden


def test_together_they_pass_every_branch(golden: Pictures) -> None:
    pictures = [Image.open(io.BytesIO(data)) for data in golden]
    assert {picture.format for picture in pictures} == {"PNG", "JPEG"}
    assert {picture.mode for picture in pictures} == {"RGB", "RGBA", "L"}
    assert 6 in [picture.getexif().get(ExifTags.Base.Orientation) for picture in pictures]
    upright = [decode(data, ImageLimits()).size for data in golden]
    assert {np.sign(width - height) for width, height in upright} == {-1, 0, 1}


def test_one_is_reduced_while_it_is_decoded(golden: Pictures) -> None:
    whole = [decode(data, ImageLimits()).size for data in golden]
    reduced = [decode(data, ImageLimits(), reduce_to(RULE)).size for data in golden]
    assert [size for size in reduced if size not in whole] == [(700, 600)]


def test_they_differ_from_each_other(golden: Pictures) -> None:
    arrays = [preprocess_bytes(data, RULE, ImageLimits()) for data in golden]
    for number, array in enumerate(arrays):
        for other in arrays[:number]:
            assert float(np.abs(array - other).mean()) > 0.1


def test_small_enough_to_ship(golden: Pictures) -> None:
    assert sum(map(len, golden)) < 700_000
