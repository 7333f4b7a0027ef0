"""A few megabytes set aside in an index folder, given up slice by slice when the disk is full.

So a service still starts and removals still go through, even where other programs fill up what becomes free. While
the reserve is not whole, pictures are refused: what is left belongs to removals and to the catalogue's log.
What may change here: its size. Not: that a picture never takes the reserve's room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

from index.errors import IndexFullError

RESERVE = "reserve"
RESERVE_BYTES = 4 * 2**20
_SLICE = RESERVE_BYTES // 8  # bytes given up at a time: more than a removal or an opening needs
_SPARE = 4 * 2**20  # bytes that have to be free beside the reserve when it is made
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SQLITE_NO_SHARED_MEMORY = 4874  # SQLITE_IOERR_SHMSIZE: its -shm file could not grow


def is_full(error: BaseException) -> bool:
    """Whether an error of the system or of SQLite says that there is no room on the disk."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, _SQLITE_NO_SHARED_MEMORY)
    return isinstance(error, OSError) and error.errno in _FULL


def keep_reserve(folder: Path) -> bool:
    """Make the reserve of an index folder whole where it is not and there is room; whether it is whole now."""
    path = folder / RESERVE
    with contextlib.suppress(OSError):
        if path.stat().st_size == RESERVE_BYTES:
            return True
    try:
        if measure_free(folder) < RESERVE_BYTES + _SPARE:
            return False
        _allocate(path)
    except OSError:  # a full disk, or a folder that may not be written
        return False
    return True


def _allocate(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def give_up_reserve(folder: Path) -> bool:
    """Free a slice of the reserve; False where nothing is left of it."""
    path = folder / RESERVE
    try:
        left = path.stat().st_size - _SLICE
        if left > 0:
            os.truncate(path, left)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def require_room(folder: Path) -> None:
    """Raises IndexFullError where some of the reserve was given up and the disk is still full."""
    if not keep_reserve(folder):
        raise explain_full(folder)


def explain_full(folder: Path) -> IndexFullError:
    """The one line that a user gets."""
    return IndexFullError(
        "the disk is full: nothing was written",
        where=folder,
        expected=f"{(RESERVE_BYTES + _SPARE) // 2**20} MiB free",
        found=f"{measure_free(folder) / 2**20:.1f} MiB",
        remedy="make room; searches and removals go on meanwhile",
    )


def measure_free(folder: Path) -> int:
    """Bytes that may still be written to a folder's disk."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
