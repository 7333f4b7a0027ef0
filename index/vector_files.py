"""Vectors with their keys in files that other programs read: Parquet, or npy with a JSONL file beside it.

A Parquet file has the columns key, label, metadata (JSON text), content_hash and vector, and names the model in its
own metadata. `x.npy` is an (n, d) float32 array whose row i is described by line i of `x.jsonl`, which names the
model on every line. What may change here: more formats. Not: names of columns and fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from index.errors import SourceError, UsageError, VectorError
from index.layout import sync_path
from index.manifests import check_text, parse_object, read_text
from index.parquet import ROWS, import_pyarrow, open_parquet, to_json_value
from index.types import Vectors

MODEL_FIELD = b"crossmatch.model"  # in a Parquet file's own metadata
_KNOWN = ("key", "label", "metadata", "content_hash", "vector", "model")
_HASH_LENGTH = 64  # SHA-256 in hexadecimal


@dataclass(frozen=True)
class VectorRecord:
    """What a file says of one vector."""

    key: str
    label: str | None
    metadata: dict[str, Any] = field(default_factory=dict)
    content_hash: str | None = None  # SHA-256 of the picture that the vector was made from


@dataclass(frozen=True, eq=False)
class VectorBlock:
    """Some rows of a file, in order, as they are there: the values are not looked at."""

    first: int  # number of the first row, from 0
    records: tuple[VectorRecord, ...]
    vectors: Vectors  # (n, d) float32
    models: frozenset[str | None]  # ids of the models that the rows name


class VectorSink(Protocol):
    """A file that is being written."""

    def write(self, records: Sequence[VectorRecord], vectors: Vectors) -> None:
        """Append rows (n, d) float32."""


@contextmanager
def create_vector_file(path: Path, model: str, size: int) -> Iterator[VectorSink]:
    """A new Parquet or npy file for vectors of `size` values by `model` (an id); it appears whole or not at all.

    Raises UsageError where the file exists, has another ending, or pyarrow is not installed.
    """
    _check_ending(path)
    draft = path.with_name(f".{path.name}-draft")
    beside = [(draft, path)]
    if path.suffix.lower() == ".npy":
        beside.insert(0, (draft.with_suffix(".jsonl-draft"), path.with_suffix(".jsonl")))
    for _, target in beside:
        if target.exists():
            raise UsageError("the file is there already", where=target, remedy="choose another name, or remove it")
    try:
        if path.suffix.lower() == ".npy":
            with draft.open("w+b") as array, beside[0][0].open("w", encoding="utf-8") as lines:
                sink = _NpySink(array, lines, model, size)
                yield sink
                sink.finish()
        else:
            with _open_parquet_sink(draft, model, size) as parquet_sink:
                yield parquet_sink
        for written, target in beside:  # the array last: where it is, all is
            sync_path(written)
            written.replace(target)
        sync_path(path.parent)
    finally:
        for written, _ in beside:
            written.unlink(missing_ok=True)


def _check_ending(path: Path) -> None:
    if path.suffix.lower() not in (".parquet", ".npy"):
        raise UsageError("not a file of vectors", where=path, expected="a name ending in .parquet or .npy")


class _NpySink:
    """Rows into an array whose header is written again once their number is known."""

    def __init__(self, array: IO[bytes], lines: IO[str], model: str, size: int) -> None:
        self._array, self._lines, self._model, self._size = array, lines, model, size
        self._count = 0
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._count, self._size)}
        np.lib.format.write_array_header_1_0(self._array, header)  # leaves room for the number of rows to grow

    def write(self, records: Sequence[VectorRecord], vectors: Vectors) -> None:
        for record in records:
            fields = {"key": record.key, "label": record.label, "metadata": record.metadata}
            fields |= {"content_hash": record.content_hash, "model": self._model}
            self._lines.write(json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n")
        self._array.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        self._count += len(records)

    def finish(self) -> None:
        """Write the header with the number of rows."""
        self._array.seek(0)
        self._write_header()


@contextmanager
def _open_parquet_sink(path: Path, model: str, size: int) -> Iterator[VectorSink]:
    arrow, parquet = import_pyarrow()
    text = arrow.string()
    columns = [("key", text), ("label", text), ("metadata", text), ("content_hash", text)]
    schema = arrow.schema(
        [*columns, ("vector", arrow.list_(arrow.float32(), size))], metadata={MODEL_FIELD: model.encode()}
    )
    with parquet.ParquetWriter(path, schema) as writer:
        yield _ParquetSink(arrow, writer, schema)


class _ParquetSink:
    """Rows into a Parquet file, a row group a call."""

    def __init__(self, arrow: Any, writer: Any, schema: Any) -> None:
        self._arrow, self._writer, self._schema = arrow, writer, schema

    def write(self, records: Sequence[VectorRecord], vectors: Vectors) -> None:
        arrow = self._arrow
        values = arrow.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        columns = [
            arrow.array([record.key for record in records], arrow.string()),
            arrow.array([record.label for record in records], arrow.string()),
            arrow.array([json.dumps(record.metadata, ensure_ascii=False) for record in records], arrow.string()),
            arrow.array([record.content_hash for record in records], arrow.string()),
            arrow.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
        ]
        self._writer.write_table(arrow.Table.from_arrays(columns, schema=self._schema))


def iterate_vectors(path: Path) -> Iterator[VectorBlock]:
    """The rows of a Parquet or npy file, a bounded block at a time.

    Columns that are not ours become metadata. Raises SourceError or VectorError with the row that does not fit, and
    UsageError for another ending or where pyarrow is not installed.
    """
    _check_ending(path)
    try:
        yield from _iterate_npy(path) if path.suffix.lower() == ".npy" else _iterate_parquet(path)
    except OSError as error:
        raise SourceError(f"can not be read: {error.strerror or error}", where=error.filename or path) from error


def _iterate_npy(path: Path) -> Iterator[VectorBlock]:
    array = _open_array(path)
    lines = path.with_suffix(".jsonl")
    with lines.open(encoding="utf-8-sig") as file:
        for first in range(0, len(array) + 1, ROWS):  # one more than the array has, to see that no line is left
            block = array[first : first + ROWS]
            texts = [text for _, text in zip(range(len(block)), file, strict=False)]
            if len(texts) < len(block) or (first + ROWS > len(array) and file.readline().strip()):
                raise SourceError(
                    "the lines are not as many as the array's rows",
                    where=lines,
                    expected=f"{len(array)} lines",
                    found=first + len(texts) if len(texts) < len(block) else "more",
                )
            rows = [parse_object(f"{lines}:{number}", text) for number, text in enumerate(texts, start=first + 1)]
            wheres = [f"{lines}:{number}" for number in range(first + 1, first + len(rows) + 1)]
            yield _make_block(first, wheres, rows, np.array(block, dtype=np.float32), None)


def _open_array(path: Path) -> Vectors:
    try:
        array: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise SourceError("can not be read as npy", where=path, found=str(error)[:200]) from error
    if array.ndim != 2 or array.dtype.kind != "f":
        raise VectorError(
            "not an array of vectors", where=path, expected="(n, d) floats", found=f"{array.shape} {array.dtype}"
        )
    return array


def _iterate_parquet(path: Path) -> Iterator[VectorBlock]:
    with open_parquet(path) as file:
        named = (file.schema_arrow.metadata or {}).get(MODEL_FIELD)
        model = None if named is None else named.decode(errors="replace")
        for name in ("key", "vector"):
            if name not in file.schema_arrow.names:
                raise SourceError(f"there is no column `{name}`", where=path, found=", ".join(file.schema_arrow.names))
        first = 0
        for batch in file.iter_batches(batch_size=ROWS):
            wheres = [f"{path}: row {number}" for number in range(first + 1, first + batch.num_rows + 1)]
            rows = batch.drop_columns("vector").to_pylist()
            yield _make_block(first, wheres, rows, _read_column(wheres, rows, batch["vector"]), model)
            first += batch.num_rows


def _read_column(wheres: Sequence[str], rows: Sequence[dict[str, Any]], column: Any) -> Vectors:
    """(n, d) float32 from a column of lists, which must all be as long."""
    lengths = column.value_lengths() if hasattr(column, "value_lengths") else None
    if lengths is None or lengths.null_count:
        place = 0 if lengths is None else lengths.is_null().to_pylist().index(True)
        raise VectorError("not a vector", where=_name_row(wheres, rows, place), expected="a list of numbers")
    sizes = lengths.to_numpy(zero_copy_only=False)
    if len(set(sizes.tolist())) > 1:
        place = int(np.flatnonzero(sizes != sizes[0])[0])
        raise VectorError(
            "wrong size", where=_name_row(wheres, rows, place), expected=int(sizes[0]), found=int(sizes[place])
        )
    try:
        values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise VectorError("not numbers", where=wheres[0], found=str(error)[:100]) from error
    return np.asarray(values.reshape(len(sizes), -1))


def _name_row(wheres: Sequence[str], rows: Sequence[dict[str, Any]], place: int) -> str:
    return f"{wheres[place]} ({rows[place].get('key')!r})"


def _make_block(
    first: int, wheres: Sequence[str], rows: Sequence[dict[str, Any]], vectors: Vectors, model: str | None
) -> VectorBlock:
    records = tuple(_make_record(where, row) for where, row in zip_longest(wheres, rows))
    models = {None if row.get("model") is None else str(row["model"]) for row in rows}
    return VectorBlock(first, records, vectors, frozenset(models if model is None else models - {None} | {model}))


def _make_record(where: str, row: dict[str, Any]) -> VectorRecord:
    key = read_text(where, row, "key")
    if key is None:
        raise SourceError("the key is empty", where=where)
    content_hash = read_text(where, row, "content_hash")
    if content_hash is not None and (len(content_hash) != _HASH_LENGTH or set(content_hash) - set("0123456789abcdef")):
        raise SourceError("not a SHA-256", where=f"{where} ({key!r})", found=content_hash[:100])
    record = VectorRecord(key, read_text(where, row, "label"), _read_metadata(where, row), content_hash)
    check_text(where, [record.key, record.label, record.metadata])
    return record


def _read_metadata(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """The column `metadata` (an object, or its JSON text) and every column that has no meaning of its own."""
    others = {name: value for name, value in row.items() if name not in _KNOWN}
    found = row.get("metadata")
    own = parse_object(where, found) if isinstance(found, str) else found or {}
    try:
        return {**to_json_value(others), **to_json_value(own)}
    except (TypeError, ValueError) as error:
        raise SourceError("can not become metadata", where=where, expected="a JSON object", found=error) from error
