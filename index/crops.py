"""A part of a picture to search by, in pixels of the whole upright picture.

The part is cut from the picture decoded at its full size and then preprocessed as a picture of its own. A part that
is the whole picture is no part: it gives the vector of the picture itself, to the last bit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from PIL import Image

from index.errors import UsageError

PATTERN = r"^\d{1,6},\d{1,6},[1-9]\d{0,5},[1-9]\d{0,5}$"


@dataclass(frozen=True)
class Crop:
    """`width` by `height` pixels from (`left`, `top`) on, which is (0, 0) at the upper left."""

    left: int
    top: int
    width: int
    height: int

    def covers(self, size: tuple[int, int]) -> bool:
        """Whether this is a whole picture of `size` (width, height). Raises UsageError unless it lies inside."""
        if self.left + self.width > size[0] or self.top + self.height > size[1]:
            raise UsageError(
                "the crop is not inside the picture",
                expected=f"x + w at most {size[0]} and y + h at most {size[1]}",
                found=f"{self.left},{self.top},{self.width},{self.height}",
            )
        return (self.width, self.height) == size

    def cut(self, image: Image.Image) -> Image.Image:
        """The part of an upright picture at its full size. Raises UsageError unless it lies inside."""
        self.covers(image.size)
        return image.crop((self.left, self.top, self.left + self.width, self.top + self.height))


def parse_crop(text: str) -> Crop:
    """`x,y,w,h` in whole pixels. Raises UsageError."""
    if not re.fullmatch(PATTERN.strip("^$"), text, re.ASCII):
        raise UsageError("not a crop", expected="x,y,w,h in whole pixels, w and h at least 1", found=repr(text[:60]))
    left, top, width, height = (int(part) for part in text.split(","))
    return Crop(left, top, width, height)
