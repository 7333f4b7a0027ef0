from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from training.augmentation import augment, draw_box, jitter, picture_generator
from training.config import AugmentationConfig

PLAIN = AugmentationConfig(input_size=32, jitter=(0.0, 0.0, 0.0, 0.0), flip=0.0)


def draw_gradient(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([255 * x / width, 255 * y / height, 0 * x + 99], -1).astype(np.uint8))


def test_equal_seeds_give_equal_pictures() -> None:
    image, config = draw_gradient(60, 48), AugmentationConfig(input_size=32)
    one, same, other_epoch, other_picture = (
        augment(image, config, picture_generator(*seeds)) for seeds in ((1, 2, 3), (1, 2, 3), (1, 3, 3), (1, 2, 4))
    )
    assert one.shape == (32, 32, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert (one != other_epoch).any()
    assert (one != other_picture).any()


def test_boxes_keep_to_their_area_and_aspect() -> None:
    config = AugmentationConfig()
    boxes = [draw_box(182, 240, config, picture_generator(0, 0, number)) for number in range(500)]
    shares = [box.width * box.height / (182 * 240) for box in boxes]
    assert 0.15 < min(shares) < 0.2
    assert max(shares) > 0.7
    assert all(0.73 < box.width / box.height < 1.36 for box in boxes)
    assert all(box.left + box.width <= 182 and box.top + box.height <= 240 for box in boxes)


@pytest.mark.parametrize(("width", "height"), [(1000, 20), (20, 1000), (1, 1)])
def test_a_picture_too_long_for_any_box_gives_its_middle(width: int, height: int) -> None:
    box = draw_box(width, height, replace(PLAIN, crop_area=(1.0, 1.0)), picture_generator(0, 0, 0))
    assert box.width <= width
    assert box.height <= height
    assert abs(2 * box.left + box.width - width) <= 1
    assert abs(2 * box.top + box.height - height) <= 1


def test_half_of_the_pictures_are_mirrored() -> None:
    config = replace(PLAIN, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.5)
    mirrored = [
        bool(pixels[0, 0, 0] > pixels[0, -1, 0])
        for pixels in (augment(draw_gradient(32, 32), config, picture_generator(0, 0, n)) for n in range(200))
    ]
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize("position", range(4))
def test_each_jitter_changes_colours_and_none_changes_nothing(position: int) -> None:
    image = draw_gradient(32, 32)
    strengths = [0.0] * 4
    assert jitter(image, (0.0, 0.0, 0.0, 0.0), picture_generator(0, 0, 0)) is image
    strengths[position] = 0.25
    changed = jitter(image, (strengths[0], strengths[1], strengths[2], strengths[3]), picture_generator(0, 0, 0))
    assert (np.asarray(changed) != np.asarray(image)).any()
