"""Folds of classes: each is held out of a training of its own, so that every class gets scored by a model that never
saw it. What a run that trains on all its classes is calibrated with.

What may change here: how classes are dealt out. What may not: a fold's model never sees the fold's classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from index.errors import UsageError
from training.config import Config
from training.data import TrainingSet


def split_classes(data: TrainingSet, config: Config) -> Iterator[TrainingSet]:
    """The training set once for each of `calibration.folds`, with that fold's classes held out.

    Raises UsageError where a fold would hold fewer than two classes, or leave fewer than two.
    """
    count, classes = config.calibration.folds, len(data.classes)
    if classes // count < 2:
        raise UsageError(
            "too few classes for so many folds",
            where="calibration.folds",
            expected=f"at most {classes // 2} for {classes} classes",
            found=count,
        )
    order = np.random.default_rng(config.data.holdout_seed).permutation(classes)
    for fold in range(count):
        yield hold_out(data, tuple(sorted(data.classes[number] for number in order[fold::count])))


def hold_out(data: TrainingSet, names: tuple[str, ...]) -> TrainingSet:
    """The training set with these of its classes held out instead of those that were."""
    return replace(
        data,
        pictures=tuple(picture for picture in data.pictures if picture.label not in names),
        classes=tuple(name for name in data.classes if name not in names),
        held_out=tuple(picture for picture in data.pictures if picture.label in names),
        held_out_classes=names,
    )
