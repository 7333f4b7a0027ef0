"""Which pictures a bundle is measured on: held-out classes for every choice, classes it was trained on beside them,
and, where a run says so, the test set.

What may change here: which protocols a data set has. What may not: a class that was trained on, or a test class,
never comes into the held-out figures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from index.assessment import assess
from index.bundle import Bundle
from index.datasets import Protocol, grocery, read_protocol
from index.datasets.registry import find_dataset
from index.errors import UsageError
from index.sources import SourcePicture
from training.config import Config
from training.data import TrainingSet

Figures = dict[str, dict[str, Any]]  # protocol -> what `crossmatch evaluate --json` prints
_GROCERY_PROTOCOLS = ("shelf", "catalogue")
_TEST_PROTOCOLS = {"grocery": _GROCERY_PROTOCOLS}  # of every other data set: `test`, where it has one


def held_out_protocols(data: TrainingSet) -> tuple[Protocol, ...]:
    """What can be asked of the held-out classes: Grocery's protocols, otherwise each picture against the others."""
    return _protocols(data, data.held_out_classes, data.held_out) if data.held_out else ()


def seen_protocols(data: TrainingSet, count: int, seed: int) -> tuple[Protocol, ...]:
    """The same of `count` classes that were trained on, drawn by the seed: a gallery of about the same size."""
    drawn = np.random.default_rng(seed).permutation(len(data.classes))[:count]
    names = {data.classes[number] for number in drawn}
    pictures = tuple(picture for picture in data.pictures if picture.label in names)
    return _protocols(data, tuple(sorted(names)), pictures) if len(names) > 1 else ()


def own_test_protocols(data: TrainingSet) -> tuple[Protocol, ...]:
    """The data set's own test protocols, over classes that training never reads."""
    return tuple(read_protocol(data.name, data.root, name) for name in _TEST_PROTOCOLS.get(data.name, ("test",)))


def check_test(config: Config) -> None:
    """Raises UsageError where `evaluation.test` asks for a test set that the data has not."""
    name = config.data.name
    if config.evaluation.test and name not in _TEST_PROTOCOLS and "test" not in find_dataset(name).protocols:
        raise UsageError(
            "the data has no test set of its own",
            where="evaluation.test",
            expected="a benchmark's data.name",
            found=name,
            remedy="keep other pictures apart, and give them to `crossmatch evaluate` once the run is done",
        )


def _protocols(
    data: TrainingSet, classes: tuple[str, ...], pictures: tuple[SourcePicture, ...]
) -> tuple[Protocol, ...]:
    if data.name == "grocery":
        ids = [class_.id for class_ in grocery.read_classes(data.root) if class_.name in classes]
        return tuple(grocery.read_protocol(data.root, name, ids) for name in _GROCERY_PROTOCOLS)
    return (Protocol("self", pictures, pictures),)


def validate(bundle: Bundle, data: TrainingSet) -> Figures:
    """The figures of a bundle on each protocol of the held-out classes; empty where none are held out."""
    return {protocol.name: assess(bundle, data.name, protocol).to_json() for protocol in held_out_protocols(data)}
