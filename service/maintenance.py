"""Housekeeping of a running service: seals when enough has changed, in a thread of its own, searches going on.

What may change here: what is looked after. Not: that a failure here is logged and never reaches a search.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from index.catalog_writer import CatalogWriter
from index.layout import Layout
from index.repair import heal_snapshot
from index.searcher import Searcher
from index.snapshot import seal_when_due

_log = logging.getLogger(__name__)


class Maintenance:
    """Looks after one index from time to time, until it is closed."""

    def __init__(self, searcher: Searcher, every_seconds: float) -> None:
        self._searcher = searcher
        self._layout = searcher.layout
        self._every = every_seconds
        self._complaint = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after what is under way."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Maintenance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            self._look_after(self._heal_and_seal)
            if self._stop.wait(self._every):
                return

    def _heal_and_seal(self, layout: Layout, catalog: CatalogWriter) -> None:
        if self._searcher.distrusts_snapshot():
            heal_snapshot(layout, catalog)
        seal_when_due(layout, catalog)

    def _look_after(self, work: Callable[[Layout, CatalogWriter], object]) -> None:
        try:
            with CatalogWriter(self._layout.catalog) as catalog:
                work(self._layout, catalog)
            self._complaint = ""
        except Exception as error:  # a full disk, a damaged row, FAISS's own: nothing here may end the thread
            if str(error) != self._complaint:  # said once, not every few seconds; searches go on
                _log.warning("housekeeping: %s", error)
            self._complaint = str(error)
