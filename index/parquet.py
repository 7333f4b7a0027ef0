"""Parquet files: the one place that touches pyarrow, which is imported only where such a file is read or written.

What may change here: the size of row groups. Not: that everything else works without pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from index.errors import SourceError, UsageError

ROWS = 4096  # of a row group, and read at a time


def import_pyarrow() -> tuple[Any, Any]:
    """`pyarrow` and `pyarrow.parquet`. Raises UsageError where it is not installed."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            "Parquet files need pyarrow",
            expected="the package pyarrow",
            found=error,
            remedy="pip install '.[parquet]' in the clone, or use CSV, JSONL or npy",
        ) from error


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`. Raises SourceError for whatever turns out to be wrong with it."""
    arrow, parquet = import_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except arrow.ArrowException as error:
        raise SourceError("can not be read as Parquet", where=path, found=str(error)[:200]) from error


def iterate_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) for each row, in order; a bounded number of them in memory. Raises SourceError."""
    with open_parquet(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=ROWS):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row


_PLAIN: Mapping[type, Callable[[Any], object]] = {
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    Decimal: str,
    UUID: str,
}


def to_json_value(value: object) -> Any:
    """A column's value as JSON can hold it: dates and decimals become text. Raises TypeError or ValueError."""
    text = json.dumps(value, allow_nan=False, default=_convert)
    return json.loads(text)


def _convert(value: object) -> object:
    if type(value) not in _PLAIN:
        raise TypeError(f"{type(value).__name__} is not JSON")
    return _PLAIN[type(value)](value)
