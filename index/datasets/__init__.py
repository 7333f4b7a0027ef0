"""Labelled data sets, read as retrieval protocols: which pictures are asked about, and among which they are searched.

What may change here: more data sets, a module each, entered in `registry.DATASETS`.
"""

from index.datasets.protocol import Dataset, Protocol
from index.datasets.registry import DATASETS, find_dataset, read_protocol, read_training_pictures

__all__ = ["DATASETS", "Dataset", "Protocol", "find_dataset", "read_protocol", "read_training_pictures"]
