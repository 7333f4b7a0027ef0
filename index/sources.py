"""Where pictures come from: a folder, or a CSV manifest, listed as (key, label, path, metadata) before any is opened.

What may change here: more kinds of source (JSONL, Parquet, URL prefixes). What may not: which key and label a file
of a folder gets, since keys identify items for ever.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from index.errors import SourceError
from index.images import SUFFIXES


@dataclass(frozen=True)
class SourcePicture:
    """One picture that a source lists."""

    key: str
    label: str | None
    path: Path  # absolute, or relative to the working directory
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A listed source: `name` identifies it for ever, `root` is the folder that the pictures' paths lie under."""

    name: str
    root: Path
    pictures: tuple[SourcePicture, ...]


def read_source(location: Path) -> Source:
    """List a folder of pictures, or a CSV manifest (`path`, `label`, `key`; other columns become metadata).

    Raises SourceError where it is neither, holds no picture, or names a key twice.
    """
    # No link is followed unless `..` needs it: a link that is pointed elsewhere stays the same source.
    location = location.resolve() if ".." in location.parts else location.absolute()
    try:
        if location.is_dir():
            return _listed(location, location, list_folder(location))
        if location.is_file():
            return _listed(location, location.parent, read_csv(location))
    except OSError as error:
        raise SourceError(f"can not be read: {error.strerror}", where=error.filename or location) from error
    raise SourceError(
        "no such source",
        where=location,
        expected="a folder of pictures, or a CSV file with a column `path`",
        found="nothing there",
        remedy="check the path",
    )


def _listed(location: Path, root: Path, pictures: Iterable[SourcePicture]) -> Source:
    _check_utf8(str(location), location)
    seen: dict[str, Path] = {}
    for picture in (pictures := tuple(pictures)):
        if picture.key in seen:
            raise SourceError(
                f"the key {picture.key!r} is there twice",
                where=location,
                expected="a key once",
                found=f"{seen[picture.key]} and {picture.path}",
                remedy="give each row a `key` of its own",
            )
        seen[picture.key] = picture.path
    if not pictures:
        raise SourceError("holds no picture", where=location, expected=f"files ending in {', '.join(sorted(SUFFIXES))}")
    return Source(str(location), root, pictures)


def _check_utf8(name: str, path: Path) -> None:
    """A name that is not UTF-8 reaches us with lone surrogates, which neither the catalogue nor JSON can hold."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            "the name is not UTF-8", where=path, expected="UTF-8 file and folder names", remedy="rename it"
        ) from error


def _raise(error: OSError) -> NoReturn:
    """For `os.walk`, which would pass over a folder that it can not read: an update would then remove its items."""
    raise error


def list_folder(folder: Path) -> Iterator[SourcePicture]:
    """Every picture file below `folder`, sorted; key = relative POSIX path, label = relative folder or None.

    Hidden files and folders are left out, and links to folders are not followed (they may lead in circles).
    Raises SourceError for a name that is not UTF-8, OSError for a folder that can not be read.
    """
    for current, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(current).relative_to(folder)
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                _check_utf8(str(relative / name), Path(current) / name)
                label = relative.as_posix() if relative.parts else None
                yield SourcePicture((relative / name).as_posix(), label, Path(current) / name)


def read_csv(path: Path) -> Iterator[SourcePicture]:
    """The rows of a CSV manifest, UTF-8. `path` is relative to the CSV's folder, and the key where none is given.

    An empty label is None. Raises SourceError with the line that does not fit.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames)
            for row in reader:
                yield _read_row(path, reader.line_num, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            "can not be read as CSV", where=path, expected="UTF-8 text with a header line", found=error
        ) from error


def _check_header(path: Path, names: Iterable[str] | None) -> None:
    found = list(names or [])
    if "path" not in found:
        raise SourceError(
            "the header has no column `path`",
            where=path,
            expected="path,label,key and any other columns",
            found=",".join(found)[:200] or "an empty file",
        )
    if len(set(found)) != len(found):
        raise SourceError("the header names a column twice", where=path, found=",".join(found)[:200])


def _read_row(path: Path, line: int, row: dict[str | None, str | None]) -> SourcePicture:
    if None in row or None in row.values():
        raise SourceError("a row has not as many fields as the header", where=f"{path}:{line}")
    fields = {str(name): str(value) for name, value in row.items()}
    location = fields.pop("path")
    if not location:
        raise SourceError("the column `path` is empty", where=f"{path}:{line}")
    key, label = fields.pop("key", ""), fields.pop("label", "")
    return SourcePicture(key or Path(location).as_posix(), label or None, path.parent / location, fields)
