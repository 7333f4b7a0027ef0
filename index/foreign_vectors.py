"""Labelled vectors that were made elsewhere, from npy or Parquet files, to be evaluated.

What may change here: more formats. What may not: vectors are never silently dropped or paired with another's label.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import SourceError, VectorError
from index.evaluation import LabelledVectors
from index.exact_search import centre
from index.types import Vectors, unit_vectors
from index.vector_files import iterate_vectors

METRICS = ("cosine", "euclidean")
_ROWS = 8192  # made unit vectors at a time


@dataclass(frozen=True, eq=False)
class ForeignVectors:
    """Vectors as they are in their file (n, d) float32, each with a label, and a key where the file has one."""

    path: Path
    vectors: Vectors
    labels: tuple[str, ...]
    keys: tuple[str, ...]


def read_foreign(path: Path, labels: Path | None) -> ForeignVectors:
    """Vectors from `x.npy`, or from a Parquet file with the columns key, vector and label.

    `labels`: npy, txt (a line each) or CSV (a column `label`, or the only one); without it they come from the Parquet
    file, or from `x.jsonl` beside `x.npy`. Raises SourceError or VectorError for what does not fit.
    """
    if labels is not None and path.suffix.lower() == ".npy":
        vectors = _load_vectors(path)
        keys = tuple(f"{path}:{row}" for row in range(len(vectors)))
        return _check(path, vectors, read_labels(labels), keys, labels)
    blocks = list(iterate_vectors(path))
    records = [record for block in blocks for record in block.records]
    if not records:
        raise SourceError("holds no vector", where=path)
    own = read_labels(labels) if labels else _own_labels(path, [record.label for record in records])
    vectors = np.concatenate([block.vectors for block in blocks if len(block.records)])
    return _check(path, vectors, own, tuple(record.key for record in records), labels or path)


def _own_labels(path: Path, labels: Sequence[str | None]) -> list[str]:
    missing = next((row for row, label in enumerate(labels) if label is None), None)
    if missing is not None:
        raise SourceError(f"row {missing + 1} has no label", where=path, remedy="give the labels with --labels")
    return [str(label) for label in labels]


def _load_vectors(path: Path) -> Vectors:
    array = _load(path)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise VectorError(
            "not an array of vectors", where=path, expected="(n, d) floats", found=f"{array.shape} {array.dtype}"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _load(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)[:200]
        raise SourceError("can not be read as npy", where=path, found=reason or type(error).__name__) from error
    return array


def read_labels(path: Path) -> list[str]:
    """A label a vector, as text. Raises SourceError."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = _load(path)
        if array.ndim != 1 or array.dtype.kind not in "iuUS":
            raise SourceError(
                "not labels", where=path, expected="(n,) whole numbers or text", found=f"{array.shape} {array.dtype}"
            )
        return [one.decode() if isinstance(one, bytes) else str(one) for one in array.tolist()]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_csv(path, file) if suffix == ".csv" else file.read().splitlines()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SourceError("can not be read", where=path, expected="UTF-8 text", found=reason) from error


def _read_csv(path: Path, file: Any) -> list[str]:
    rows = csv.DictReader(file, strict=True)
    names = list(rows.fieldnames or [])
    column = "label" if "label" in names else names[0] if len(names) == 1 else None
    if column is None:
        raise SourceError("no column `label`", where=path, found=",".join(names)[:200] or "an empty file")
    return [str(row[column] or "") for row in rows]


def _check(path: Path, vectors: Vectors, labels: Sequence[str], keys: tuple[str, ...], where: Path) -> ForeignVectors:
    if len(labels) != len(vectors):
        raise SourceError("not a label for each vector", where=where, expected=len(vectors), found=len(labels))
    empty = next((row for row, label in enumerate(labels) if not label), None)
    if empty is not None:
        raise SourceError(f"the label of row {empty + 1} is empty", where=where)
    if len(set(keys)) != len(keys):
        raise SourceError("a key is there twice", where=path, expected="each picture once")
    return ForeignVectors(path, vectors, tuple(labels), keys)


def label_sides(
    queries: ForeignVectors, gallery: ForeignVectors, metric: str
) -> tuple[LabelledVectors, LabelledVectors]:
    """Both sides with numbers for labels and keys, ready for `evaluate`: a key on both sides is one picture.

    cosine: made unit vectors; euclidean: as they are, but for their common mean. Raises VectorError.
    """
    sizes = {side.vectors.shape[1] for side in (queries, gallery)}
    if len(sizes) > 1:
        raise VectorError(
            "queries and gallery differ in vector size",
            where=queries.path,
            expected=gallery.vectors.shape[1],
            found=queries.vectors.shape[1],
        )
    unit = metric == "cosine"
    same = queries is gallery
    names = {label: number for number, label in enumerate(sorted({*queries.labels, *gallery.labels}))}
    numbers = {key: number for number, key in enumerate(dict.fromkeys((*gallery.keys, *queries.keys)))}
    if unit:
        found = [_make_unit(side) for side in ((gallery,) if same else (queries, gallery))]
    else:
        for side in (queries, gallery):
            _check_finite(side)
        found = list(centre(queries.vectors, gallery.vectors))
    sides = [
        LabelledVectors(
            vectors,
            np.array([names[label] for label in side.labels], np.int64),
            np.array([numbers[key] for key in side.keys], np.int64),
            unit=unit,
        )
        for side, vectors in zip((queries, gallery), (found[0], found[-1]), strict=True)
    ]
    return sides[0], sides[1]


def _make_unit(side: ForeignVectors) -> Vectors:
    """Block by block: float64 copies of all of them would take twice their memory."""
    rows = np.empty(side.vectors.shape, np.float32)
    for start in range(0, len(rows), _ROWS):
        block = slice(start, start + _ROWS)
        rows[block] = unit_vectors(side.vectors[block], where=f"{side.path}, from row {start}")
    return rows


def _check_finite(side: ForeignVectors) -> None:
    finite = np.isfinite(side.vectors).all(axis=1)
    if not finite.all():
        raise VectorError("a vector is not finite", where=f"{side.path}: row {int(np.argmin(finite)) + 1}")
