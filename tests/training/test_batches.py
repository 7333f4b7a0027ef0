from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.preprocess import Preprocessing
from training.batches import BatchLoader
from training.config import Config
from training.parallel import Processes
from training.picture_cache import PictureCache

RULE = Preprocessing(resize=36, input_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def cache(drawn_pictures: Path) -> PictureCache:
    cache = PictureCache(sorted(drawn_pictures.rglob("*.*g")), RULE, 1.0)
    cache.fill()
    return cache


def test_an_epoch_is_a_shuffle_without_the_last_small_batch(
    cache: PictureCache, make_config: Callable[..., Config]
) -> None:
    config = make_config(train__batch_size=10)
    loader = BatchLoader(cache, range(24), config.augmentation, config.train)
    batches = list(loader.epoch(0))
    seen = np.concatenate([batch.labels for batch in batches])
    assert len(batches) == loader.steps == 2
    assert batches[0].pixels.shape == (10, 32, 32, 3)
    assert len(set(seen.tolist())) == 20
    assert seen.tolist() != sorted(seen.tolist())


def test_the_parts_of_a_batch_are_the_batch_and_skipped_ones_are_skipped(
    cache: PictureCache, make_config: Callable[..., Config]
) -> None:
    config = make_config()
    loader = BatchLoader(cache, range(24), config.augmentation, config.train)
    whole = list(loader.epoch(3))
    parts = [list(loader.epoch(3, share=Processes(rank, 2).share)) for rank in (0, 1)]
    later = list(loader.epoch(3, skip=2))
    assert len(later) == 1
    np.testing.assert_array_equal(later[0].pixels, whole[2].pixels)
    for batch, left, right in zip(whole, *parts, strict=True):
        assert len(left.labels) == len(right.labels) == 4
        np.testing.assert_array_equal(batch.labels, np.concatenate([left.labels, right.labels]))
        np.testing.assert_array_equal(batch.pixels, np.concatenate([left.pixels, right.pixels]))


def test_the_number_of_threads_changes_nothing(cache: PictureCache, make_config: Callable[..., Config]) -> None:
    config = make_config()
    one, three = (
        list(BatchLoader(cache, range(24), config.augmentation, replace(config.train, loader_threads=n)).epoch(4))
        for n in (1, 3)
    )
    for left, right in zip(one, three, strict=True):
        np.testing.assert_array_equal(left.pixels, right.pixels)
        np.testing.assert_array_equal(left.labels, right.labels)


def test_an_epoch_left_early_ends_its_threads(cache: PictureCache, make_config: Callable[..., Config]) -> None:
    config = make_config()
    batches = BatchLoader(cache, range(24), config.augmentation, config.train).epoch(0)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("augment")]
