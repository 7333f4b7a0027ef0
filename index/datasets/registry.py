"""The data sets by name. What may change here: another line for another data set's module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from index.datasets import folder, grocery, manifest
from index.datasets.protocol import Dataset, Protocol
from index.errors import SourceError

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {dataset.name: dataset for dataset in (grocery.DATASET, folder.DATASET, manifest.DATASET)}
)


def read_protocol(data: str, root: Path, protocol: str | None = None) -> Protocol:
    """The protocol of a data set at `root` (a folder, or a file for `manifest`); by default, the data set's first.

    Raises SourceError for a name that is not known, files that are missing or do not fit, pictures without labels.
    """
    if data not in DATASETS:
        raise SourceError("no such data set", where=data, expected=_choices(DATASETS))
    dataset = DATASETS[data]
    if protocol is not None and protocol not in dataset.protocols:
        raise SourceError(f"{data} has no such protocol", where=protocol, expected=_choices(dataset.protocols))
    return dataset.read(root, protocol)


def _choices(names: Mapping[str, Dataset] | tuple[str, ...]) -> str:
    return " or ".join(names)
