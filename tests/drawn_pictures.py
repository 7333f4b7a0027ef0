"""A small labelled gallery, drawn from numbers: the pictures that tests index, search and serve.

Within a label the background's colour is one and a disc wanders, so every picture's nearest neighbour under the tiny
model has its label. What may change here: more labels. The bytes are the same on every run.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {
    "red": (205, 40, 35),
    "green": (40, 165, 60),
    "blue": (35, 60, 200),
    "yellow": (235, 210, 50),
    "white": (235, 235, 235),
    "black": (15, 15, 15),
}
PER_LABEL = 4


def write_drawn_pictures(
    folder: Path, labels: Sequence[str] = tuple(COLOURS), per_label: int = PER_LABEL, first: int = 0
) -> Path:
    """`folder`/<label>/<label>-<number>.png or .jpg, numbers from `first` on; returns `folder`."""
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_label):
            suffix, format_ = (".png", "PNG") if number % 2 == 0 else (".jpg", "JPEG")
            (folder / label / f"{label}-{number}{suffix}").write_bytes(draw_picture(label, number, format_))
    return folder


def draw_picture(label: str, number: int = 0, format_: str = "PNG") -> bytes:
    """The file of one picture, about 60 pixels a side: a textured background of the label's colour, and a disc."""
    random = np.random.default_rng([list(COLOURS).index(label), number])
    width, height = 56 + 4 * (number % 5), 60 + 3 * (number % 4)
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.array(COLOURS[label]) + random.normal(0.0, 6.0, size=(height, width, 3))
    centre_x, centre_y = random.uniform(0.3, 0.7, size=2) * (width, height)
    disc = (x - centre_x) ** 2 + (y - centre_y) ** 2 < 8.0**2
    pixels[disc] += 35.0
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, format_)
    return buffer.getvalue()
