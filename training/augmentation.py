"""A resized picture -> a randomly jittered, cropped and mirrored square, in the order of the paper's recipe.

Every random number comes from a generator of (seed, epoch, picture), so a picture's crop hangs on neither threads nor
the order of the batch, and a resumed run draws what an uninterrupted one would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional

from training.config import AugmentationConfig

_TRIES = 10


@dataclass(frozen=True)
class Box:
    """A crop, in pixels of the resized picture."""

    top: int
    left: int
    height: int
    width: int


def picture_generator(seed: int, epoch: int, number: int) -> np.random.Generator:
    """The random numbers of one picture in one epoch."""
    return np.random.default_rng((seed, epoch, number))


def augment(image: Image.Image, config: AugmentationConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(s, s, 3) uint8 from a resized RGB picture: jitter before the crop, as the reference does."""
    image = jitter(image, config.jitter, rng)
    box = draw_box(image.width, image.height, config, rng)
    size = [config.input_size, config.input_size]
    image = functional.resized_crop(image, box.top, box.left, box.height, box.width, size, antialias=True)
    if rng.random() < config.flip:
        image = functional.horizontal_flip(image)
    return np.asarray(image)


def jitter(image: Image.Image, strengths: tuple[float, float, float, float], rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue, in a random order, as torchvision's ColorJitter."""
    factors = [1.0 + strength * rng.uniform(-1, 1) for strength in strengths[:3]]
    hue = strengths[3] * rng.uniform(-1, 1)
    for step in rng.permutation(4):
        if strengths[step] == 0:
            continue
        if step == 0:
            image = functional.adjust_brightness(image, factors[0])
        elif step == 1:
            image = functional.adjust_contrast(image, factors[1])
        elif step == 2:
            image = functional.adjust_saturation(image, factors[2])
        else:
            image = functional.adjust_hue(image, hue)
    return image


def draw_box(width: int, height: int, config: AugmentationConfig, rng: np.random.Generator) -> Box:
    """A crop of random area and aspect, as torchvision's RandomResizedCrop; after ten misses, the central one."""
    low, high = (math.log(aspect) for aspect in config.crop_aspect)
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*config.crop_area)
        aspect = math.exp(rng.uniform(low, high))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            return Box(top, left, box_height, box_width)
    return _central_box(width, height, config.crop_aspect)


def _central_box(width: int, height: int, aspects: tuple[float, float]) -> Box:
    box_width = min(width, max(1, round(height * aspects[1])))
    box_height = min(height, max(1, round(width / aspects[0])))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
