"""Which pictures a run learns from: listed, whole classes held out, the rest numbered 0..C-1 among themselves.

What may change here: more data sets. What may not: test classes never come in; numbers are given to the training
classes alone, so that the classifier has no dead outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.datasets import read_training_pictures
from index.errors import SourceError, UsageError
from index.manifest import canonical_json
from index.sources import SourcePicture
from training.config import DataConfig


@dataclass(frozen=True)
class TrainingSet:
    """Pictures of the classes that are trained on, and those of the classes held out."""

    name: str
    root: Path
    pictures: tuple[SourcePicture, ...]
    classes: tuple[str, ...]  # in the order of their numbers
    held_out: tuple[SourcePicture, ...]
    held_out_classes: tuple[str, ...]

    @property
    def labels(self) -> list[int]:
        """The class number of each of `pictures`."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return [numbers[str(picture.label)] for picture in self.pictures]


def read_training_set(config: DataConfig) -> TrainingSet:
    """List the training pictures. Raises SourceError or UsageError for data that can not be trained on."""
    root = Path(config.root)
    pictures = _list_pictures(config.name, root)
    names = sorted({str(picture.label) for picture in pictures})
    kept_out = choose_held_out(names, config.holdout, config.holdout_seed)
    classes = tuple(name for name in names if name not in kept_out)
    if len(classes) < 2:
        raise SourceError("too few classes to train on", where=root, expected="at least 2", found=len(classes))
    return TrainingSet(
        name=config.name,
        root=root,
        pictures=tuple(picture for picture in pictures if picture.label not in kept_out),
        classes=classes,
        held_out=tuple(picture for picture in pictures if picture.label in kept_out),
        held_out_classes=kept_out,
    )


def _list_pictures(name: str, root: Path) -> tuple[SourcePicture, ...]:
    try:
        return read_training_pictures(name, root)
    except SourceError as error:  # `crossmatch evaluate`, which has an option --root, reads the same data sets
        if error.remedy is None or "crossmatch" in error.remedy:
            raise
        remedy = error.remedy.replace("--root", "data.root")
        raise SourceError(
            error.what, where=error.where, expected=error.expected, found=error.found, remedy=remedy
        ) from error


def choose_held_out(names: Sequence[str], share: float, seed: int) -> tuple[str, ...]:
    """The classes to hold out of the sorted `names`, sorted: at least two where `share` is above 0.

    Raises UsageError where fewer than two would be left on either side: one class alone has nothing to be told from.
    """
    if not share:
        return ()
    count = max(2, round(share * len(names)))
    if len(names) - count < 2:
        raise UsageError(
            "too few classes to hold some out",
            where="data.holdout",
            expected="two on either side",
            found=f"{count} of {len(names)}",
        )
    order = np.random.default_rng(seed).permutation(len(names))
    return tuple(sorted(names[number] for number in order[:count]))


def data_digest(pictures: Sequence[SourcePicture], contents: Sequence[str]) -> str:
    """SHA-256 over the sorted (key, SHA-256 of the content, label) of the pictures, as canonical JSON."""
    rows = sorted(
        [picture.key, content, str(picture.label)] for picture, content in zip(pictures, contents, strict=True)
    )
    return hashlib.sha256(canonical_json(rows)).hexdigest()
