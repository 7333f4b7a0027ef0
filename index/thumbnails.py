"""Pictures -> 256 px JPEG thumbnails for the page. Derived: any of them can be made again from its picture."""

from __future__ import annotations

import io

from PIL import Image

SIDE = 256  # pixels, the longer side
_QUALITY = 85


def draw_thumbnail(image: Image.Image) -> bytes:
    """A JPEG of an upright RGB picture, at most 256 px on the longer side, the aspect kept, nothing enlarged."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
