"""Small pictures inside the page: JPEG in `data:` addresses, each picture drawn once."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from index.errors import ImageError
from index.images import ImageLimits, decode, read_bytes

SIDE = 144  # pixels, the longer side: twice what is shown, for dense screens
_QUALITY = 72


@lru_cache(maxsize=512)
def draw_data_address(path: Path) -> str | None:
    """A picture as a `data:` address; None where it can not be read any more."""
    limits = ImageLimits()
    try:
        image = decode(read_bytes(path, limits), limits, reduce_to=SIDE)
    except ImageError:
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
