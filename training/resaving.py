"""How alike a picture and itself saved again are: the score above which a pair is one picture saved twice.

Needs pictures, and no labels: no class is learned from, only what a codec does to a vector. No torch. What may change
here: how a picture is saved again, said in `docs/artifacts.md`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from index.bundle import Bundle
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.images import decode, read_bytes
from index.sources import SourcePicture
from index.types import score_pairs

SAMPLE = 200  # pictures
KEPT = 0.99  # share of the pictures that are found again
_QUALITY = 60  # of JPEG, 0 to 100
_SCALE = 2  # each side is divided by it


def measure_same_picture(bundle: Bundle, pictures: Sequence[SourcePicture]) -> float:
    """The score that 99 of 100 `pictures` keep with themselves at half the size, as a JPEG of quality 60.

    Of more than 200, a sample spread over all of them is taken. Raises ImageError for one that can not be read.
    """
    sample = pictures[:: max(1, len(pictures) // SAMPLE)][:SAMPLE]
    scores = list(EncoderPool(bundle).map(_score_again, sample))
    return float(np.clip(np.quantile(scores, 1 - KEPT), -1.0, 1.0))


def _score_again(encoder: Encoder, picture: SourcePicture) -> float:
    data = read_bytes(picture.path, encoder.limits)
    vector = encoder.encode_bytes(data)
    again = encoder.encode_bytes(save_again(data, encoder))
    return float(score_pairs(vector[None], again)[0])


def save_again(data: bytes, encoder: Encoder) -> bytes:
    """The picture at half its size, as a JPEG."""
    image = decode(data, encoder.limits)
    small = image.resize((max(1, image.width // _SCALE), max(1, image.height // _SCALE)))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
