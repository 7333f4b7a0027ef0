"""Labelled data sets, read as retrieval protocols: which pictures are asked about, and among which they are searched.

What may change here: more data sets, a module each, entered in `registry.DATASETS`.
"""

from index.datasets.protocol import Dataset, Protocol
from index.datasets.registry import DATASETS, read_protocol

__all__ = ["DATASETS", "Dataset", "Protocol", "read_protocol"]
