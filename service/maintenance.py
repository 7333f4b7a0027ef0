"""Housekeeping of a running service: duties done again and again, each in a thread of its own, searches going on.

What may change here: what is looked after. Not: that a failure here is logged and never reaches a search.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from index.catalog_writer import CatalogWriter
from index.repair import heal_snapshot
from index.searcher import Searcher
from index.snapshot import seal_when_due

_log = logging.getLogger(__name__)


class Duty:
    """Something that is done every so many seconds, until it is closed."""

    def __init__(self, name: str, work: Callable[[], object], every_seconds: float, *, at_once: bool = True) -> None:
        """`at_once`: whether it is done now, or first after so many seconds."""
        self._work = work
        self._at_once = at_once
        self._every = every_seconds
        self._complaint = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after what is under way."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        if self._at_once:
            self._look_after()
        while not self._stop.wait(self._every):
            self._look_after()

    def _look_after(self) -> None:
        try:
            self._work()
            self._complaint = ""
        except Exception as error:  # a full disk, a damaged row, FAISS's own: nothing here may end the thread
            if str(error) != self._complaint:  # said once, not every few seconds; searches go on
                _log.warning("%s: %s", self._thread.name, error)
            self._complaint = str(error)


class Maintenance(Duty):
    """Seals an index when enough has changed, and heals a snapshot that can not be trusted."""

    def __init__(self, searcher: Searcher, every_seconds: float) -> None:
        self._searcher = searcher
        super().__init__("housekeeping", self._heal_and_seal, every_seconds)

    def _heal_and_seal(self) -> None:
        layout = self._searcher.layout
        with CatalogWriter(layout.catalog) as catalog:
            if self._searcher.distrusts_snapshot():
                heal_snapshot(layout, catalog)
            seal_when_due(layout, catalog)
