"""Where pictures come from: a folder, a manifest or one picture; listed before any is opened.

What may change here: more kinds of source (URL prefixes). What may not: which key and label a file of a folder gets,
since keys identify items for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from index.errors import SourceError
from index.images import SUFFIXES
from index.manifests import MANIFEST_SUFFIXES, read_rows


@dataclass(frozen=True)
class SourcePicture:
    """One picture that a source lists."""

    key: str
    label: str | None
    path: Path  # absolute, or relative to the working directory
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A listed source: `name` identifies it for ever, `root` is the folder that the pictures' paths lie under."""

    name: str
    root: Path
    pictures: tuple[SourcePicture, ...]


def read_source(location: Path, images_root: Path | None = None) -> Source:
    """List a folder of pictures, a manifest (`path`, `label`, `key`; other columns become metadata), or one picture.

    `images_root`: where the pictures lie now, if not where they did. It stands in for the folder, or for the folder
    that a manifest's relative paths start from. The source stays the one that `location` names: a folder need not be
    there any more, a manifest must. Raises SourceError where it is neither, holds no picture, or names a key twice.
    """
    location, root = _tidy(location), None if images_root is None else _tidy(images_root)
    try:
        if location.is_file() and location.suffix.lower() in SUFFIXES:
            return _read_picture(location, root or location.parent)
        if location.is_file():
            return _read_manifest(location, root or location.parent)
        if location.is_dir() or (root is not None and location.suffix.lower() not in MANIFEST_SUFFIXES):
            return _read_folder(location, root or location)
    except OSError as error:
        raise SourceError(f"can not be read: {error.strerror}", where=error.filename or location) from error
    raise SourceError(
        "no such source",
        where=location,
        expected="a folder of pictures, a CSV, JSONL or Parquet file with a column `path`, or a picture",
        found="nothing there",
        remedy="check the path",
    )


def _tidy(path: Path) -> Path:
    """Absolute. No link is followed unless `..` needs it: a link that is pointed elsewhere stays the same source."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _read_folder(location: Path, root: Path) -> Source:
    return _listed(location, root, list_folder(root))


def _read_picture(location: Path, root: Path) -> Source:
    return _listed(location, root, [SourcePicture(location.name, None, root / location.name)])


def _read_manifest(location: Path, root: Path) -> Source:
    rows = read_rows(location)
    return _listed(location, root, (SourcePicture(row.key, row.label, root / row.path, row.metadata) for row in rows))


def _listed(location: Path, root: Path, pictures: Iterable[SourcePicture]) -> Source:
    for path in (location, root):
        _check_utf8(str(path), path)
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
        moved = root not in (location, location.parent)
        raise SourceError(
            "holds no picture",
            where=location,
            expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
            found=f"none in {root}" if moved else None,
        )
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
