"""Training pictures in memory, decoded and resized once: later epochs cost no file, no decoding and no resizing.

What may change here: where the pixels are kept. Not how they come to be: through `index`, by the same rules as in
indexing and serving.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.assessment import Progress
from index.encoder_pool import usable_cores
from index.errors import ImageError
from index.images import ImageLimits, decode, read_bytes
from index.preprocess import Preprocessing, reduce_to, resize

Pixels = NDArray[np.uint8]  # (h, w, 3)


class PictureCache:
    """Pictures by their number, at the size from which crops are cut."""

    def __init__(self, paths: Sequence[Path], rule: Preprocessing, budget_gib: float) -> None:
        """Nothing is read yet: `fill` does."""
        self._paths = tuple(paths)
        self._rule = rule
        self._limits = ImageLimits()
        self._pixels: list[Pixels | None] = [None] * len(self._paths)
        self._budget = int(budget_gib * 2**30)  # bytes left
        self.digests: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._paths)

    def fill(self, on_progress: Progress | None = None) -> None:
        """Read every picture once, keep as many as the budget allows, and note the SHA-256 of each file's bytes.

        Raises ImageError with the path of the first that can not be read: better now
        than in the middle of an epoch.
        """
        digests = []
        with ThreadPoolExecutor(usable_cores()) as threads:
            for number, (digest, pixels) in enumerate(threads.map(self._read, self._paths)):
                digests.append(digest)
                if pixels.nbytes <= self._budget:
                    self._pixels[number] = pixels
                    self._budget -= pixels.nbytes
                if on_progress:
                    on_progress(number + 1, len(self))
        self.digests = tuple(digests)

    def picture(self, number: int) -> Image.Image:
        """The resized RGB picture, from memory or, beyond the budget, from its file."""
        pixels = self._pixels[number]
        if pixels is None:
            pixels = self._read(self._paths[number])[1]
        return Image.fromarray(pixels)

    def _read(self, path: Path) -> tuple[str, Pixels]:
        data = read_bytes(path, self._limits)
        try:
            image = decode(data, self._limits, reduce_to=reduce_to(self._rule))
        except ImageError as error:
            raise type(error)(
                error.what, where=path, expected=error.expected, found=error.found, remedy="repair or remove it"
            ) from error
        return hashlib.sha256(data).hexdigest(), np.asarray(resize(image, self._rule))
