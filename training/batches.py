"""The batches of an epoch, augmented ahead by threads while the model is busy.

Pillow lets go of Python's lock while it works, so threads are enough, and the pictures need not be copied between
processes. The order is a function of (seed, epoch) alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.augmentation import augment, picture_generator
from training.config import AugmentationConfig, TrainConfig
from training.picture_cache import PictureCache
from training.sampler import order_epoch

_AHEAD = 3  # batches


@dataclass(frozen=True)
class Batch:
    """Augmented pictures and their classes."""

    pixels: NDArray[np.uint8]  # (n, s, s, 3)
    labels: NDArray[np.int64]  # (n,)


class BatchLoader:
    """Batches of whole epochs; what does not fill a step's batches is dropped, as the recipe does."""

    def __init__(
        self, cache: PictureCache, labels: Sequence[int], augmentation: AugmentationConfig, config: TrainConfig
    ) -> None:
        """`sampler.check_sampler` has let these labels through."""
        self._cache = cache
        self._labels = np.asarray(labels, dtype=np.int64)
        self._augmentation = augmentation
        self._config = config

    @property
    def pictures_a_step(self) -> int:
        """In all processes together."""
        return self._config.batch_size * self._config.accumulate

    @property
    def steps(self) -> int:
        """In an epoch."""
        return len(self._labels) // self.pictures_a_step

    def epoch(self, epoch: int, skip: int = 0, share: Callable[[int], slice] = slice) -> Generator[Batch, None, None]:
        """The batches of one epoch after the first `skip`; of each, the part that `share(batch_size)` says.

        Close the iterator (or use it up) to end its threads.
        """
        waiting: deque[Future[Batch]] = deque()
        threads = ThreadPoolExecutor(self._config.loader_threads, thread_name_prefix="augment")
        part = share(self._config.batch_size)
        try:
            for numbers in order_epoch(self._labels, self._config, epoch)[skip:]:
                waiting.append(threads.submit(self._make, numbers[part], epoch))
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
