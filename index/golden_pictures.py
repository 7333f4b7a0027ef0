"""The small pictures that every bundle is checked with: drawn here from a formula, so that no photograph is shipped.

Together they pass every branch of the preprocessor: PNG and JPEG, transparency, grey, an EXIF turn, portrait and
landscape, and one JPEG large enough that the decoder reduces it. What may change here: the set, for new bundles.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import ExifTags, Image


def draw_golden_pictures() -> tuple[bytes, ...]:
    """Five picture files, the same bytes' worth of content on every machine."""
    return (
        _save(_waves(320, 240, 1.0), "PNG"),
        _save(_waves(300, 180, 2.3), "JPEG", exif=_turned(6)),  # upright: a portrait
        _save(_with_hole(_waves(200, 200, 3.1)), "PNG"),
        _save(_waves(260, 230, 4.7).convert("L"), "PNG"),
        _save(_waves(1400, 1200, 5.9), "JPEG"),
    )


def _waves(width: int, height: int, seed: float) -> Image.Image:
    """Crossing waves and blobs, (height, width, 3) uint8: smooth areas, edges and texture in one picture."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / 100.0
    channels = []
    for channel in range(3):
        phase = seed * (channel + 1)
        wave = np.sin(7 * x * np.cos(phase) + 5 * y * np.sin(phase) + phase)
        blob = np.exp(-((x - 1.2 - 0.3 * np.sin(phase)) ** 2 + (y - 1.0 - 0.3 * np.cos(phase)) ** 2) * 2)
        edge = np.where(np.sin(3 * x + phase) * np.sin(4 * y - phase) > 0.3, 0.5, -0.2)
        channels.append(0.45 + 0.2 * wave + 0.35 * blob + 0.25 * edge)
    pixels = np.clip(np.stack(channels, axis=-1) * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels, mode="RGB")


def _with_hole(image: Image.Image) -> Image.Image:
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (20, 20, 90, 120))
    image.putalpha(alpha)
    return image


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes()


def _save(image: Image.Image, format_: str, exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **({"exif": exif, "quality": 92} if exif else {}))
    return buffer.getvalue()
