"""What an outsider may want to measure of a search, handed to whoever asked for it: seconds of stages, scores.

Nothing is kept here and nothing is measured unless somebody listens. What may change here: nothing; a new measurement
is a new name at the place where it is taken, and a row in docs/operations.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Observer = Callable[[str, float], None]  # name of a measurement, and its value: seconds, or a cosine

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Hand what is measured on this thread, or in this task, to `observer`."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


@contextmanager
def timing(stage: str) -> Iterator[None]:
    """Measure the seconds that the inside takes, if it ends well."""
    observer = _observer.get()
    started = time.perf_counter()
    yield
    if observer is not None:
        observer(stage, time.perf_counter() - started)


def note_value(name: str, value: float) -> None:
    """A measurement that is no time."""
    observer = _observer.get()
    if observer is not None:
        observer(name, value)
