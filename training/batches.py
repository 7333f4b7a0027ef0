"""The batches of an epoch, augmented ahead by threads while the model is busy.

Pillow lets go of Python's lock while it works, so threads are enough, and the pictures need not be copied between
processes. The order is a function of (seed, epoch) alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.errors import UsageError
from training.augmentation import augment, picture_generator
from training.config import AugmentationConfig, TrainConfig
from training.picture_cache import PictureCache

_AHEAD = 3  # batches


@dataclass(frozen=True)
class Batch:
    """Augmented pictures and their classes."""

    pixels: NDArray[np.uint8]  # (n, s, s, 3)
    labels: NDArray[np.int64]  # (n,)


class BatchLoader:
    """Batches of whole epochs; a last, smaller batch is dropped, as the recipe does."""

    def __init__(
        self, cache: PictureCache, labels: Sequence[int], augmentation: AugmentationConfig, config: TrainConfig
    ) -> None:
        """Raises UsageError where the pictures do not fill one batch."""
        if len(cache) < config.batch_size:
            raise UsageError(
                "fewer pictures than one batch",
                where="train.batch_size",
                expected=f"at most {len(cache)}",
                found=config.batch_size,
                remedy="make the batch smaller",
            )
        self._cache = cache
        self._labels = np.asarray(labels, dtype=np.int64)
        self._augmentation = augmentation
        self._config = config

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._cache) // self._config.batch_size

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(batches, batch_size) picture numbers."""
        shuffled = np.random.default_rng((self._config.seed, epoch)).permutation(len(self._cache))
        return shuffled[: len(self) * self._config.batch_size].reshape(len(self), -1)

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """The batches of one epoch. Close the iterator (or use it up) to end its threads."""
        waiting: deque[Future[Batch]] = deque()
        threads = ThreadPoolExecutor(self._config.loader_threads, thread_name_prefix="augment")
        try:
            for numbers in self.order(epoch):
                waiting.append(threads.submit(self._make, numbers, epoch))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)

    def _make(self, numbers: NDArray[np.int64], epoch: int) -> Batch:
        seed = self._config.seed
        pictures = [
            augment(self._cache.picture(int(number)), self._augmentation, picture_generator(seed, epoch, int(number)))
            for number in numbers
        ]
        return Batch(np.stack(pictures), self._labels[numbers])
