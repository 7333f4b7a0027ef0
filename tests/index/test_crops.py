"""A part of a picture: exactly those pixels of the upright picture, or a reason why not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from index.crops import Crop, parse_crop
from index.encoder import Encoder
from index.errors import UsageError
from tests.drawn_pictures import draw_picture


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def save(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_part_is_encoded_as_a_picture_of_its_own(tiny_encoder: Encoder) -> None:
    image = noise(120, 90)
    expected = tiny_encoder.encode_bytes(save(image.crop((30, 10, 100, 80))))
    assert tiny_encoder.encode_bytes(save(image), Crop(30, 10, 70, 70)).tobytes() == expected.tobytes()


def test_its_pixels_are_those_of_the_upright_picture(tiny_encoder: Encoder) -> None:
    image = noise(120, 90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter: 90 wide, 120 high
    upright = image.transpose(Image.Transpose.ROTATE_270)
    expected = tiny_encoder.encode_bytes(save(upright.crop((5, 60, 85, 120))))
    assert tiny_encoder.encode_bytes(save(image, exif=exif), Crop(5, 60, 80, 60)).tobytes() == expected.tobytes()
    with pytest.raises(UsageError, match="x \\+ w at most 90 and y \\+ h at most 120"):
        tiny_encoder.encode_bytes(save(image, exif=exif), Crop(0, 0, 120, 90))


def test_the_whole_picture_is_no_part(tiny_encoder: Encoder) -> None:
    """Also of a JPEG that is decoded at a reduced size."""
    buffer = io.BytesIO()
    noise(800, 640).save(buffer, "JPEG")
    for data, size in ((buffer.getvalue(), (800, 640)), (draw_picture("red"), None)):
        with Image.open(io.BytesIO(data)) as image:
            assert size in (None, image.size)
            crop = Crop(0, 0, *image.size)
        assert tiny_encoder.encode_bytes(data, crop).tobytes() == tiny_encoder.encode_bytes(data).tobytes()


@pytest.mark.parametrize("crop", [Crop(0, 0, 121, 1), Crop(120, 0, 1, 1), Crop(0, 90, 1, 1), Crop(100, 50, 21, 40)])
def test_a_part_outside_is_refused(crop: Crop) -> None:
    with pytest.raises(UsageError, match="not inside the picture"):
        crop.cut(noise(120, 90))


def test_a_crop_is_four_whole_numbers() -> None:
    assert parse_crop("0,12,3,4") == Crop(0, 12, 3, 4)
    for text in (
        "",
        "1,2,3",
        "1,2,3,4,5",
        "0,0,0,1",
        "0,0,1,0",
        "-1,0,1,1",
        "1.0,0,1,1",
        " 1,0,1,1",
        "٣,0,1,1",
        "1,0,1,1\n",
        "9" * 7 + ",0,1,1",
    ):
        with pytest.raises(UsageError, match="not a crop"):
            parse_crop(text)
