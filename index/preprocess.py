"""An upright RGB picture -> the (3, s, s) float32 array that a model was trained on. Pure functions of the manifest.

The one preprocessor: training's evaluation, indexing and serving all come through here, so that the same bytes give
the same vector everywhere. What may change here: speed. What may not, for an existing rule name: a single pixel.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from index.crops import Crop
from index.images import ImageLimits, decode

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
LONGEST_ASPECT = 16  # a longer picture is first cut to its central 16:1, or one row of pixels would become millions


class Preprocessing(BaseModel):
    """How a picture becomes a model's input; the `preprocessing` field of a bundle's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    decode: Literal["draft2x"] = Field(
        default="draft2x",
        description="JPEGs are decoded at the smallest scale of 1, 1/2, 1/4, 1/8 whose sides stay at or above twice "
        "`resize`; transparent pixels on white; EXIF orientation applied",
    )
    resize_mode: Literal["shorter_side", "squash"] = Field(
        default="shorter_side",
        description="`shorter_side`: it becomes `resize` pixels, the aspect kept; `squash`: both sides do",
    )
    resize: int = Field(ge=1, le=4096, description="pixels, before the crop")
    crop: Literal["center"] = Field(default="center", description="the central `input_size` square is kept")
    input_size: int = Field(ge=1, le=4096, description="pixels of a side of the model's input")
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = Field(
        default="bilinear", description="always with antialiasing"
    )
    mean: tuple[float, float, float] = Field(description="per channel, of values in 0..1")
    std: tuple[float, float, float] = Field(description="per channel, of values in 0..1")

    def model_post_init(self, _context: object, /) -> None:
        """Reject a crop that is larger than what it is cut from."""
        if self.resize < self.input_size:
            raise ValueError(f"resize ({self.resize}) is smaller than input_size ({self.input_size})")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")


def preprocess_bytes(
    data: bytes, rule: Preprocessing, limits: ImageLimits, crop: Crop | None = None
) -> NDArray[np.float32]:
    """(3, s, s) float32 from the bytes of a picture file, or of a part of it.

    Raises what `images.decode` raises, and UsageError for a crop that is not inside the picture.
    """
    if crop is not None:
        whole = decode(data, limits)
        if not crop.covers(whole.size):
            return preprocess(crop.cut(whole), rule)
    return preprocess(decode(data, limits, reduce_to=reduce_to(rule)), rule)


def reduce_to(rule: Preprocessing) -> int:
    """The shorter side, in pixels, below which the decoder may not reduce a JPEG under this rule."""
    return 2 * rule.resize


def preprocess(image: Image.Image, rule: Preprocessing) -> NDArray[np.float32]:
    """(3, s, s) float32, normalised, from an upright RGB picture."""
    return normalise(crop_center(resize(image, rule), rule.input_size), rule)


def resize(image: Image.Image, rule: Preprocessing) -> Image.Image:
    """The whole picture at the size from which the crop is cut."""
    filter_ = _FILTERS[rule.interpolation]
    if rule.resize_mode == "squash":
        return image.resize((rule.resize, rule.resize), filter_)
    image = _cut_long(image)
    width, height = image.size
    short = min(width, height)
    # The long side is rounded down, as torchvision's Resize does.
    size = (rule.resize * width // short, rule.resize * height // short)
    return image if size == image.size else image.resize(size, filter_)


def _cut_long(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = LONGEST_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))


def crop_center(image: Image.Image, size: int) -> Image.Image:
    """The central square of `size` pixels; offsets are rounded to even, as torchvision's CenterCrop does."""
    width, height = image.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def normalise(image: Image.Image, rule: Preprocessing) -> NDArray[np.float32]:
    """(3, h, w) float32: values to 0..1, less the mean, over the standard deviation."""
    pixels = np.asarray(image, dtype=np.float32)  # (h, w, 3)
    scale = (1.0 / (255.0 * np.array(rule.std))).astype(np.float32)
    shift = (np.array(rule.mean) / np.array(rule.std)).astype(np.float32)
    return np.ascontiguousarray((pixels * scale - shift).transpose(2, 0, 1))
