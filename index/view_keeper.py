"""One process's newest view of an index, shared by its threads, and how it catches up with the catalogue.

A view that answers is at exactly the change that the question's read transaction sees. A seal changes nothing of which
pictures live: the view that is there goes on, with what the log says, while the newer snapshot is checked and mapped
beside. Only another generation, another index at the path, or a log that was trimmed makes a search wait for a load.
What may change here: what is loaded ahead. Not: that exactness.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

from index.announcement import read_announced
from index.catalog import Catalog, Generation, Snapshot
from index.errors import IndexDataError
from index.layout import Layout
from index.snapshot import SealedIndex, open_snapshot
from index.view import View, extend_view, load_view

_ATTEMPTS = 3  # to find a snapshot that the catalogue names, before it counts as missing
_log = logging.getLogger(__name__)


class SnapshotShelf:
    """Snapshots that were checked and mapped, of the generation that answers and of those being encoded."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sealed: dict[tuple[str, Snapshot], SealedIndex] = {}

    def take(self, generation: Generation, snapshot: Snapshot, *, must_exist: bool) -> SealedIndex | None:
        """What `open_snapshot` gives; opened once. Raises FileNotFoundError if it `must_exist` and does not."""
        key = (generation.name, snapshot)
        if key not in self._sealed:
            sealed = open_snapshot(self._layout, generation, snapshot, must_exist=must_exist)
            if sealed is None:
                return None
            self._sealed[key] = sealed
        return self._sealed[key]

    def keep_only(self, wanted: list[tuple[Generation, Snapshot]]) -> None:
        """Let go of all others."""
        names = {(generation.name, snapshot) for generation, snapshot in wanted}
        for key in list(self._sealed):  # another thread may be putting one there
            if key not in names:
                self._sealed.pop(key, None)


class ViewKeeper:
    """Safe to use from several threads; each has a connection of its own."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._local = threading.local()
        self._lock = threading.Lock()
        self._catalogs: list[Catalog] = []
        self._view: View | None = None
        self._shelf = SnapshotShelf(layout)
        self._renewal: threading.Thread | None = None
        self._overdue = False  # a newer snapshot was sealed than the renewal that runs has looked for

    @property
    def catalog(self) -> Catalog:
        """This thread's connection."""
        catalog: Catalog | None = getattr(self._local, "catalog", None)
        if catalog is None:
            catalog = self._local.catalog = Catalog(self._layout.catalog)
            with self._lock:
                self._catalogs.append(catalog)
        return catalog

    def close(self) -> None:
        """Close every thread's connection, once a snapshot that is being checked has been."""
        self._settle()
        with self._lock:
            while self._catalogs:
                self._catalogs.pop().close()
            self._view = None

    def _settle(self) -> None:
        while (renewal := self._renewal) is not None and renewal.is_alive():  # none lives on in a forked child
            renewal.join()

    @contextmanager
    def reading(self) -> Iterator[Catalog]:
        """The catalogue as it is now: of the index that lies at the path now, one state for all statements."""
        catalog = self.catalog
        with catalog.reading():
            yield catalog

    @contextmanager
    def caught_up(self) -> Iterator[View]:
        """A view at exactly the change that this thread's read transaction sees, for as long as it is open."""
        catalog = self.catalog
        for attempt in count():
            with catalog.reading():
                number = catalog.change_number()
                view = self._view
                if view is None or view.place != catalog.place or view.number < number:
                    try:
                        with self._lock:
                            view = self._advance(catalog, number, trust=attempt < _ATTEMPTS)
                    except FileNotFoundError as error:  # replaced by a newer snapshot since this transaction began
                        if attempt < _ATTEMPTS:
                            continue
                        raise IndexDataError(
                            "a file of the index is missing",
                            where=error.filename,
                            remedy="run `crossmatch index verify --repair`",
                        ) from error
                if view.number == number:
                    yield view
                    return
            # Another thread's view is ahead of this transaction: the next transaction sees what it saw.

    @contextmanager
    def settled(self) -> Iterator[View]:
        """`caught_up` with the newest snapshot: waits while that is being checked. For facts, not for searches."""
        with self.caught_up():
            pass
        self._settle()
        with self.caught_up() as view:
            yield view

    def _advance(self, catalog: Catalog, number: int, *, trust: bool) -> View:
        """With the lock held: the view at change `number`, or another thread's that is ahead of it."""
        view = self._view
        if view is not None and view.place != catalog.place:
            view = None  # another index lies at the path now
        if view is not None and view.number >= number:  # another thread advanced it meanwhile
            return view
        changes = catalog.changes_after(view.number) if view else None
        if view is None or changes is None or changes.reload:
            self._view = load_view(self._layout, catalog, number, partial(self._shelf.take, must_exist=trust))
            self._shelf.keep_only(_list_snapshots(catalog, read_announced(self._layout)))
        else:
            self._view = extend_view(view, changes, number)
            if changes.sealed:
                self._renew()
        return self._view

    # Newer snapshots, beside the searches

    def prepare(self, name: str) -> None:
        """Check and map the snapshot of a generation that is about to answer, here and now; no search waits for it.

        Raises FileNotFoundError if a newer one takes its place meanwhile.
        """
        with self.catalog.reading():
            wanted = _list_snapshots(self.catalog, name)
        for generation, snapshot in wanted:
            if generation.name == name:
                self._shelf.take(generation, snapshot, must_exist=True)

    def _renew(self) -> None:
        """With the lock held: have a thread check and map what was sealed."""
        self._overdue = True
        if self._renewal is None or not self._renewal.is_alive():
            self._renewal = threading.Thread(target=self._open_sealed, name="snapshot", daemon=True)
            self._renewal.start()

    def _open_sealed(self) -> None:
        """On that thread: whatever happens here, the view that is there goes on, exactly."""
        try:
            with Catalog(self._layout.catalog) as catalog:
                while self._goes_on():
                    self._open_newest(catalog)
        except Exception as error:
            _log.warning("%s: the newest snapshot is not in use yet: %s", self._layout.folder, error)
            with self._lock:
                self._renewal = None

    def _goes_on(self) -> bool:
        """Whether something was sealed since this was asked last; else the thread is at its end."""
        with self._lock:
            if self._overdue:
                self._overdue = False
                return True
            self._renewal = None
            return False

    def _open_newest(self, catalog: Catalog) -> None:
        for _ in range(_ATTEMPTS):
            with catalog.reading():
                wanted = _list_snapshots(catalog, None)
            with contextlib.suppress(FileNotFoundError):  # a newer one has taken its place since then
                opened = [self._shelf.take(*one, must_exist=True) for one in wanted]
                break
        else:
            opened = [None]  # it is missing: the next search says so
        with self._lock:
            if self._view is not None and self._view.sealed not in opened[:1]:
                self._view = None  # the next search loads one with what is on the shelf, which takes no time


def _list_snapshots(catalog: Catalog, announced: str | None) -> list[tuple[Generation, Snapshot]]:
    """Of the generation that answers, and of those that may be swapped to next."""
    active, *earlier = catalog.generations()
    generations = (active, *catalog.drafts(), *(one for one in earlier if one.name == announced))
    return [(one, snapshot) for one in generations if (snapshot := catalog.snapshot(one)) is not None]
