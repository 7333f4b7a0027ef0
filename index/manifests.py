"""Manifests: CSV, JSONL and Parquet files that list pictures, a row a picture.

The columns `path`, `label` and `key` mean the same in each; all others become metadata. What may change here: more
formats. What may not: which key a row gets, since keys identify items for ever.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from index.errors import SourceError
from index.parquet import iterate_rows, to_json_value

_JSONL = (".jsonl", ".ndjson")
MANIFEST_SUFFIXES = (".csv", *_JSONL, ".parquet")


@dataclass(frozen=True)
class ManifestRow:
    """One row, checked; whether the picture is there is not looked at."""

    key: str
    label: str | None
    path: str  # as the manifest gives it: absolute, or relative to wherever the pictures lie
    metadata: dict[str, Any] = field(default_factory=dict)


def read_rows(manifest: Path) -> Iterator[ManifestRow]:
    """The rows of a manifest: JSONL or Parquet by its name's ending, CSV with any other.

    Raises SourceError with the row that does not fit, and UsageError for Parquet where pyarrow is not installed.
    """
    suffix = manifest.suffix.lower()
    if suffix in _JSONL:
        return read_jsonl(manifest)
    return read_parquet(manifest) if suffix == ".parquet" else read_csv(manifest)


def read_csv(manifest: Path) -> Iterator[ManifestRow]:
    """The rows of a CSV file, UTF-8 with a header line. An empty label is none."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(manifest, reader.fieldnames)
            for row in reader:
                where = f"{manifest}:{reader.line_num}"
                if None in row or None in row.values():
                    raise SourceError("a row has not as many fields as the header", where=where)
                yield _make_row(where, dict(row))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            "can not be read as CSV", where=manifest, expected="UTF-8 text with a header line", found=error
        ) from error


def _check_header(manifest: Path, names: Iterable[str] | None) -> None:
    found = list(names or [])
    if "path" not in found:
        raise SourceError(
            "the header has no column `path`",
            where=manifest,
            expected="path,label,key and any other columns",
            found=",".join(found)[:200] or "an empty file",
        )
    if len(set(found)) != len(found):
        raise SourceError("the header names a column twice", where=manifest, found=",".join(found)[:200])


def read_jsonl(manifest: Path) -> Iterator[ManifestRow]:
    """The rows of a JSONL file, UTF-8: a JSON object a line; empty lines are passed over."""
    try:
        with manifest.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{manifest}:{number}"
                    yield _make_row(where, parse_object(where, line))
    except UnicodeDecodeError as error:
        raise SourceError(
            "can not be read as JSONL", where=manifest, expected="UTF-8 text, a JSON object a line", found=error
        ) from error


def parse_object(where: str, text: str) -> dict[str, Any]:
    """A JSON object. Raises SourceError for anything else, NaN and Infinity included."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SourceError("not JSON", where=where, expected="a JSON object", found=str(error)[:200]) from error
    if not isinstance(value, dict):
        raise SourceError("not a JSON object", where=where, found=text.strip()[:100])
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_parquet(manifest: Path) -> Iterator[ManifestRow]:
    """The rows of a Parquet file; dates and decimals in its metadata become text."""
    for where, row in iterate_rows(manifest):
        yield _make_row(where, {name: _convert(where, name, value) for name, value in row.items()})


def _convert(where: str, name: str, value: object) -> Any:
    try:
        return to_json_value(value)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"the column `{name}` can not become metadata",
            where=where,
            expected="text, numbers, dates, lists or structs",
            found=error,
            remedy="leave the column out",
        ) from error


def _make_row(where: str, fields: dict[str, Any]) -> ManifestRow:
    path = read_text(where, fields, "path")
    if path is None:
        raise SourceError("the column `path` is empty" if "path" in fields else "there is no `path`", where=where)
    if "\0" in path:
        raise SourceError("the column `path` holds a zero byte", where=where)
    key, label = read_text(where, fields, "key"), read_text(where, fields, "label")
    metadata = {name: value for name, value in fields.items() if name not in ("path", "key", "label")}
    check_text(where, [key, label, path, metadata])
    return ManifestRow(key or Path(path).as_posix(), label, path, metadata)


def read_text(where: str, fields: dict[str, Any], name: str) -> str | None:
    """A field that is text, or a whole number taken as text; None where it is missing, null or empty."""
    value = fields.get(name)
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return None if value is None else str(value) or None
    raise SourceError(f"the column `{name}` is not text", where=where, found=repr(value)[:100])


def check_text(where: str, values: object) -> None:
    """Raises SourceError for half of a surrogate pair (JSON can escape one), which no catalogue can hold."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SourceError("a text is not Unicode", where=where, expected="whole characters", found=error) from error
