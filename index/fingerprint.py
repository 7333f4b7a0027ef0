"""What tells copies of a picture: its bytes, its pixels, and its look, which re-encoding and resizing hardly change.

The look is the mean colours of 8 x 8 cells, by which candidates are found, and a grey of 32 x 32, which must then
correlate. (A difference hash was tried: on plain backgrounds its bits are noise.) What may change here: the thresholds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.images import ImageLimits, decode
from index.types import Vectors

CELLS = 8
_GREY = 32
RADIUS = 4.0  # of 255: root mean square by which the colours of two copies may differ
_CORRELATION = 0.95
_FLAT = 2.0  # of 255: a standard deviation of grey below which there is nothing to correlate


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Of one picture."""

    content: str  # SHA-256 of the file
    pixels: str  # SHA-256 of the upright RGB pixels and their size
    colours: NDArray[np.uint8]  # (192,) mean colours of the cells
    grey: NDArray[np.uint8]  # (1024,)


def take_fingerprint(data: bytes, limits: ImageLimits) -> Fingerprint:
    """The fingerprint of a picture file's bytes. Raises ImageError."""
    image = decode(data, limits)
    pixels = hashlib.sha256(f"{image.width}x{image.height}".encode())
    pixels.update(image.tobytes())
    return Fingerprint(
        content=hashlib.sha256(data).hexdigest(),
        pixels=pixels.hexdigest(),
        colours=_shrink(image, CELLS),
        grey=_shrink(image.convert("L"), _GREY),
    )


def _shrink(image: Image.Image, side: int) -> NDArray[np.uint8]:
    return np.asarray(image.resize((side, side), Image.Resampling.BOX)).reshape(-1)


def to_points(prints: list[Fingerprint]) -> Vectors:
    """(n, 192) float32 points; two pictures are candidates if they lie within `RADIUS` * sqrt(192)."""
    return np.stack([one.colours for one in prints]).astype(np.float32)


def is_same_look(first: Fingerprint, second: Fingerprint) -> bool:
    """Whether two candidates are copies to the eye."""
    a, b = (one.grey.astype(np.float64) for one in (first, second))
    a, b = a - a.mean(), b - b.mean()
    deviations = np.sqrt([(a * a).mean(), (b * b).mean()])
    if deviations.max() < _FLAT:
        return True  # both are flat, and of one colour
    return bool((a * b).mean() >= _CORRELATION * deviations.prod())
