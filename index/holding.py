"""Who copies an index's files, and who clears them away, keep out of each other's way.

What may change here: nothing without every version that still runs doing the same.
"""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from index.layout import Layout


@contextmanager
def keeping_files(layout: Layout) -> Iterator[None]:
    """While this is held, no compaction takes an original, a thumbnail or a row; it waits for one that is at it."""
    lock = _open_lock(layout.clear_lock)
    if lock is None:
        yield  # a folder that this user may only read, never compacted yet
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _open_lock(path: Path) -> IO[str] | None:
    """The lock's file, made where there is none; None where this user may not make it."""
    try:
        return path.open("a")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    try:
        return path.open("r")
    except OSError:
        return None


@contextmanager
def clearing(layout: Layout) -> Iterator[bool]:
    """Whether files may be cleared away until this ends: not while somebody copies them."""
    with layout.clear_lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
