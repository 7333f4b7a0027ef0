"""The data sets by name. What may change here: another line for another data set's module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from index.datasets import cars, cub, folder, grocery, inshop, manifest, sop
from index.datasets.protocol import Dataset, Protocol, check_labels
from index.errors import SourceError
from index.sources import SourcePicture

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {module.DATASET.name: module.DATASET for module in (grocery, cub, cars, sop, inshop, folder, manifest)}
)


def read_protocol(data: str, root: Path, protocol: str | None = None) -> Protocol:
    """The protocol of a data set at `root` (a folder, or a file for `manifest`); by default, the data set's first.

    Raises SourceError for a name that is not known, files that are missing or do not fit, pictures without labels.
    """
    dataset = find_dataset(data)
    if protocol is not None and protocol not in dataset.protocols:
        raise SourceError(f"{data} has no such protocol", where=protocol, expected=_choices(dataset.protocols))
    return dataset.read(root, protocol)


def find_dataset(data: str) -> Dataset:
    """A data set by its name. Raises SourceError."""
    if data not in DATASETS:
        raise SourceError("no such data set", where=data, expected=_choices(DATASETS))
    return DATASETS[data]


def read_training_pictures(data: str, root: Path) -> tuple[SourcePicture, ...]:
    """The pictures of a data set's training classes, each with a label. Raises SourceError."""
    pictures = find_dataset(data).read_training(root)
    if not pictures:
        raise SourceError("holds no picture to train on", where=root)
    check_labels(pictures)
    return pictures


def _choices(names: Mapping[str, Dataset] | tuple[str, ...]) -> str:
    return " or ".join(names)
