"""A configuration tried out: its pictures are there, its model is built, and one step of training is taken.

What may change here: more that is tried. What may not: nothing is left behind, and no test picture is opened.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import SourceError
from index.sources import SourcePicture
from training.config import Config
from training.data import TrainingSet, read_training_set
from training.folds import split_classes
from training.metrics_log import METRICS_NAME, MetricsLog
from training.run import prepare_run
from training.sampler import check_sampler
from training.validation import check_test


@dataclass(frozen=True)
class DryRun:
    """What was found."""

    data: str
    pictures: int
    classes: int
    held_out_classes: int
    backbone: str
    embedding_size: int
    parameters: int  # that train, the loss's own among them
    steps_per_epoch: int
    loss: float  # of the first step
    seconds: float  # of the first step

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch train --dry-run --json` prints."""
        return asdict(self)


def try_out(config: Config) -> DryRun:
    """Take one step as `config` says, on one batch of its pictures. Raises what `train_bundle` would."""
    check_test(config)
    data = read_training_set(config.data)
    if config.calibration.folds and not data.held_out:
        tuple(split_classes(data, config))
    for picture in (*data.pictures, *data.held_out):
        if not picture.path.is_file():
            raise SourceError("the picture is not there", where=picture.path, expected="every listed picture")
    check_sampler(data.labels, data.classes, config.train)
    small = replace(config, train=replace(config.train, epochs=1, accumulate=1, sampler="shuffle", tensorboard=False))
    with tempfile.TemporaryDirectory(prefix="crossmatch-") as folder:
        trainer, prepared = prepare_run(small, _take_batch(data, config.train.batch_size), Path(folder))
        started = time.perf_counter()
        with MetricsLog(Path(folder) / METRICS_NAME, 0) as log:
            trainer.run_epoch(log)
        seconds = time.perf_counter() - started
        step = json.loads((Path(folder) / METRICS_NAME).read_text(encoding="utf-8").splitlines()[0])
    return DryRun(
        data=data.name,
        pictures=len(data.pictures),
        classes=len(data.classes),
        held_out_classes=len(data.held_out_classes),
        backbone=prepared.backbone.name,
        embedding_size=trainer.model.embedder.size,
        parameters=sum(one.numel() for one in trainer.model.parameters() if one.requires_grad),
        steps_per_epoch=len(data.pictures) // (config.train.batch_size * config.train.accumulate),
        loss=step["loss"],
        seconds=seconds,
    )


def _take_batch(data: TrainingSet, size: int) -> TrainingSet:
    """The same classes with one batch of pictures, evenly spread over them."""
    places = np.linspace(0, len(data.pictures) - 1, min(size, len(data.pictures)), dtype=np.int64)
    some: tuple[SourcePicture, ...] = tuple(data.pictures[place] for place in places)
    return replace(data, pictures=some)
