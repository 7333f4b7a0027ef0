"""Which generation is about to answer: said before a swap, so that services open its encoders in time.

`NEXT`, beside `CURRENT`: the generation's name, in a file that is locked while it holds true, so that one which a
killed process left says nothing. A hint and no more: the catalogue's row decides what answers.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from index.layout import Layout

_ATTEMPTS = 10
_PAUSE = 0.02  # seconds


@contextmanager
def announcing(layout: Layout, generation: str) -> Iterator[None]:
    """Say that this generation will answer soon, until this ends; not if another process says so of its own."""
    with layout.upcoming.open("a+") as file:
        if not _lock(file):
            yield
            return
        file.truncate(0)
        file.write(f"{generation}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _lock(file: IO[str]) -> bool:
    """Take the lock, unless another process says something; who only asks holds it for an instant."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            continue
    return False


def read_announced(layout: Layout) -> str | None:
    """The name of the generation that is about to answer."""
    try:
        with layout.upcoming.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or None
    except OSError:
        pass
    return None
