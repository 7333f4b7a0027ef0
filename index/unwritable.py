"""A catalogue in a folder that can not be written, opened for reading.

SQLite's log needs files beside the catalogue, which it can not make there. Where no log with content lies there, the
catalogue is complete and is read as immutable; otherwise from a private copy of both. Either is right for as long as
the files stay as they are, which `fingerprint` tells.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

Fingerprint = tuple[tuple[int, ...], tuple[int, ...] | None]
_ATTEMPTS = 5  # at a copy that a writer keeps changing


@dataclass(frozen=True, eq=False)
class UnwritableCatalog:
    """A connection, the state of the files that it reads, and the copy it reads them from, if any."""

    connection: sqlite3.Connection
    fingerprint: Fingerprint
    copy: tempfile.TemporaryDirectory[str] | None


def fingerprint(catalog: Path) -> Fingerprint:
    """What changes whenever the catalogue or its log does. Raises FileNotFoundError."""
    log = log_of(catalog)
    return _describe(catalog.stat()), _describe(log.stat()) if log.exists() else None


def _describe(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def log_of(catalog: Path) -> Path:
    """SQLite's write-ahead log of a catalogue."""
    return catalog.with_name(f"{catalog.name}-wal")


def open_unwritable(catalog: Path) -> UnwritableCatalog:
    """Open a catalogue for reading only, writing nothing beside it. Raises sqlite3.Error or OSError."""
    before = fingerprint(catalog)
    log = before[1]
    if log is None or log[2] == 0:
        address = f"file:{quote(str(catalog.absolute()))}?mode=ro&immutable=1"
        return UnwritableCatalog(_connect(address, uri=True), before, None)
    copy = tempfile.TemporaryDirectory(prefix="crossmatch-")
    try:
        before = _copy(catalog, Path(copy.name))
        return UnwritableCatalog(_connect(str(Path(copy.name) / catalog.name)), before, copy)
    except BaseException:
        copy.cleanup()
        raise


def _copy(catalog: Path, folder: Path) -> Fingerprint:
    """Copy a catalogue and its log as they are at one moment; what they were."""
    for _ in range(_ATTEMPTS):
        before = fingerprint(catalog)
        for path in (catalog, log_of(catalog)):
            if path.exists():
                shutil.copyfile(path, folder / path.name)
        if fingerprint(catalog) == before:
            return before
    raise OSError(f"{catalog}: changes too fast to be copied")


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, uri=uri, isolation_level=None, check_same_thread=False)
