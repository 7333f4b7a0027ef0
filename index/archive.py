"""A folder of files with the SHA-256 of each in `backup.json`: what a backup is on disk.

What may change here: fields, with a new format version. Not: that every byte of the folder is under a digest,
`backup.json`'s own among them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from index.errors import IndexDataError, UsageError
from index.layout import sync_path, write_whole
from index.manifest import canonical_json, file_digest

MANIFEST = "backup.json"
CONTENT = "index"  # the folder with the files
FORMAT_VERSION = 1
_CHUNK = 2**20
_ZEROS = bytes(_CHUNK)


@dataclass(frozen=True)
class ArchivedFile:
    """One file's content."""

    digest: str  # SHA-256
    bytes: int


@dataclass(frozen=True)
class Archive:
    """What `backup.json` says."""

    change_number: int
    created: str  # ISO 8601, UTC
    files: dict[str, ArchivedFile] = field(default_factory=dict)  # POSIX path below `index/`


class ArchiveWriter:
    """Files into a new archive folder, each synced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = folder / CONTENT
        self.content.mkdir(parents=True)
        self.files: dict[str, ArchivedFile] = {}

    def copy(self, relative: str, source: Path) -> ArchivedFile:
        """Copy a file. Raises FileNotFoundError."""
        with source.open("rb") as file:
            return self.copy_open(relative, file)

    def copy_open(self, relative: str, file: IO[bytes]) -> ArchivedFile:
        """Copy what is left of an open file."""
        target = self.content / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        found = self.files[relative] = copy_bytes(file, target)
        return found

    def note(self, relative: str) -> None:
        """Take in a file that was written to its place already."""
        path = self.content / relative
        sync_path(path)
        self.files[relative] = ArchivedFile(file_digest(path), path.stat().st_size)

    def drop(self, relative: str) -> None:
        """Leave a file out after all."""
        (self.content / relative).unlink()
        del self.files[relative]

    def finish(self, change_number: int) -> Archive:
        """Write `backup.json`; from then on the archive is whole."""
        archive = Archive(change_number, datetime.now(UTC).isoformat(timespec="seconds"), self.files)
        for path in (self.content, *(path for path in self.content.rglob("*") if path.is_dir())):
            sync_path(path)
        write_whole(self.folder / MANIFEST, _render(archive))
        return archive


def copy_bytes(file: IO[bytes], target: Path) -> ArchivedFile:
    """Copy an open file to `target`, synced; long runs of zeros become holes again."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as copy:
        for chunk in _read_chunks(file):
            digest.update(chunk)
            size += len(chunk)
            if chunk == _ZEROS:
                copy.seek(_CHUNK, os.SEEK_CUR)
            else:
                copy.write(chunk)
        copy.truncate(size)
        copy.flush()
        os.fsync(copy.fileno())
    return ArchivedFile(digest.hexdigest(), size)


def _read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def read_archive(folder: Path) -> Archive:
    """What an archive folder should hold. Raises UsageError where there is none, IndexDataError for a damaged one."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "not a backup",
            where=folder,
            expected=f"a folder with {MANIFEST}",
            found=error.strerror,
            remedy="give the DEST of `crossmatch index backup`",
        ) from error
    try:
        fields = json.loads(text)
        _check_version(path, fields.pop("format_version"))
        files = {_check_name(name): ArchivedFile(**one) for name, one in fields.pop("files").items()}
        archive = Archive(fields["change_number"], fields["created"], files)
        if text != _render(archive):
            raise ValueError("another SHA-256 than its own")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IndexDataError("the backup's list of files is damaged", where=path, found=str(error)[:200]) from error
    return archive


def _render(archive: Archive) -> bytes:
    """The bytes of `backup.json`, with a digest over all that they say."""
    fields: dict[str, Any] = {"format_version": FORMAT_VERSION, **asdict(archive)}
    fields["digest"] = hashlib.sha256(canonical_json(fields)).hexdigest()
    return (json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _check_version(path: Path, version: object) -> None:
    if version != FORMAT_VERSION:
        raise IndexDataError(
            "a backup format that this program does not read",
            where=path,
            expected=f"format {FORMAT_VERSION}",
            found=f"format {version}",
            remedy="use the Crossmatch version that wrote it, or a newer one",
        )


def _check_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"a path that leads out of the backup: {name}")
    return name


def check_file(path: Path, expected: ArchivedFile, found: ArchivedFile | None = None) -> None:
    """Raises IndexDataError, by name, for a file that is missing or is not the one that was backed up."""
    try:
        found = found or ArchivedFile(file_digest(path), path.stat().st_size)
    except OSError as error:
        raise IndexDataError("a file of the backup is missing", where=path, found=error.strerror) from error
    if found != expected:
        raise IndexDataError(
            "a file of the backup is not the one that was written",
            where=path,
            expected=f"{expected.bytes} bytes, SHA-256 {expected.digest[:12]}...",
            found=f"{found.bytes} bytes, {found.digest[:12]}...",
            remedy="use another backup",
        )
