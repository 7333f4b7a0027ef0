"""Which pictures make a batch: a plain shuffle, or so many of each of a few classes.

Each order is a function of (seed, epoch) alone. What may change here: more ways to choose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.errors import UsageError
from training.config import TrainConfig

Numbers = NDArray[np.int64]


def check_sampler(labels: Sequence[int], classes: Sequence[str], config: TrainConfig) -> None:
    """Raises UsageError where no epoch can be made of the pictures, before one is read."""
    needed = config.batch_size * config.accumulate
    if len(labels) < needed:
        raise UsageError(
            "fewer pictures than one batch" if config.accumulate == 1 else "fewer pictures than one step's batches",
            where="train.batch_size",
            expected=f"at most {len(labels) // config.accumulate}",
            found=config.batch_size,
            remedy="make the batch smaller",
        )
    if config.sampler == "m_per_class":
        _check_classes(np.bincount(labels, minlength=len(classes)), classes, config)


def _check_classes(counts: NDArray[np.intp], classes: Sequence[str], config: TrainConfig) -> None:
    wanted = config.batch_size // config.per_class
    if wanted > len(classes):
        raise UsageError(
            f"a batch would take {config.per_class} pictures of {wanted} classes, more classes than there are",
            where="train.per_class",
            expected=f"at least {-(-config.batch_size // len(classes))} of {len(classes)} classes",
            found=config.per_class,
            remedy="make the batch smaller or take more of a class",
        )
    small = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < config.per_class]
    if small:
        more = f" and {len(small) - 3} more" if len(small) > 3 else ""
        raise UsageError(
            f"classes with too few pictures: {', '.join(small[:3])}{more}",
            where="train.per_class",
            expected=f"at least {config.per_class} of each",
            remedy=f"take fewer of a class (the smallest has {min(counts)}), or give these classes more pictures",
        )


def share_alone(labels: Sequence[int], config: TrainConfig) -> float:
    """Which share of the first epoch's pictures are the only one of their class in their batch: no pair pulls them."""
    numbers = np.asarray(labels, dtype=np.int64)
    order = order_epoch(numbers, config, 0)
    alone = sum(int((np.unique(numbers[batch], return_counts=True)[1] == 1).sum()) for batch in order)
    return alone / order.size


def order_epoch(labels: NDArray[np.int64], config: TrainConfig, epoch: int) -> Numbers:
    """(batches, batch_size) picture numbers; what does not fill a step's batches is left out."""
    steps = len(labels) // (config.batch_size * config.accumulate)
    batches = steps * config.accumulate
    random = np.random.default_rng((config.seed, epoch))
    if config.sampler == "shuffle":
        return random.permutation(len(labels))[: batches * config.batch_size].reshape(batches, -1)
    return _m_per_class(labels, config, batches, random)


def _m_per_class(labels: NDArray[np.int64], config: TrainConfig, batches: int, random: np.random.Generator) -> Numbers:
    """Each batch: other classes, drawn without repetition; a class's pictures come round before one comes again."""
    pictures = [np.flatnonzero(labels == number) for number in range(int(labels.max()) + 1)]
    queues: list[list[int]] = [[] for _ in pictures]
    wanted, order = config.batch_size // config.per_class, []
    for _ in range(batches):
        batch: list[int] = []
        for number in random.permutation(len(pictures))[:wanted]:
            if len(queues[number]) < config.per_class:
                queues[number] = random.permutation(pictures[number]).tolist()
            batch += (queues[number].pop() for _ in range(config.per_class))
        order.append(batch)
    return np.array(order, dtype=np.int64)
