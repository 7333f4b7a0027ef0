"""The index after one change, as one process sees it: snapshot, delta, and what lives no more. Never modified.

What may change here: how candidates are found. Not: that all which could be among the best are.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index.catalog import Catalog, Changes, Generation, Snapshot
from index.layout import Layout
from index.snapshot import SealedIndex
from index.types import Ids, Vectors
from index.vectors import VectorMap

_SPARE = 32  # entries beyond those wanted that a snapshot is asked for at first
_ROUNDING = 1e-5  # no float32 sum over a unit vector is further from the final score than this
_BLOCK = 16_384  # rows read at a time
OpenSealed = Callable[[Generation, Snapshot], SealedIndex | None]  # None: it can not be trusted
_NONE: Ids = np.empty(0, dtype=np.int64)


class GenerationHold:
    """A shared lock on a generation's folder: while any process has one, nobody clears the generation away."""

    def __init__(self, manifest: Path) -> None:
        """Raises FileNotFoundError if the generation is gone."""
        descriptor = os.open(manifest, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not os.fstat(descriptor).st_nlink:  # cleared away while we waited for the lock
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(manifest))


@dataclass(frozen=True, eq=False)
class View:
    """What a search looks into; threads share it."""

    place: tuple[int, int]  # of the catalogue, see `Database`
    number: int  # of the change
    generation: Generation
    snapshot: Snapshot | None
    sealed: SealedIndex | None  # None where there is no snapshot, or it can not be trusted
    rows: VectorMap
    delta_ids: Ids  # (m,) picture ids that are not in the snapshot
    delta_rows: Vectors  # (m, d)
    removed: Ids  # (r,) picture ids that are in the snapshot and live no more, ascending
    emptied: Ids  # entries of the snapshot of which no picture lives
    hold: GenerationHold


def load_view(layout: Layout, catalog: Catalog, number: int, open_sealed: OpenSealed) -> View:
    """The view that a read transaction of `catalog` at change `number` gives.

    Raises IndexDataError, and what `open_sealed` does.
    """
    generation = catalog.active_generation()
    hold = GenerationHold(layout.generation(generation.name) / "manifest.json")
    rows = VectorMap(layout.vectors(generation.name), generation.embedding_size)
    snapshot = catalog.snapshot(generation)
    sealed = open_sealed(generation, snapshot) if snapshot else None
    if snapshot is None or sealed is None:
        delta, removed, emptied = catalog.vector_ids(generation), _NONE, _NONE
    else:
        changes = catalog.changes_after(snapshot.change_number)
        delta, removed = changes.added, changes.removed
        emptied = sealed.entries.find_emptied(removed)
    return View(
        catalog.place, number, generation, snapshot, sealed, rows, delta, rows.read(delta), removed, emptied, hold
    )


def extend_view(view: View, changes: Changes, number: int) -> View:
    """The view after `changes`, which end at change `number`."""
    kept = ~np.isin(view.delta_ids, changes.removed)
    removed = np.union1d(view.removed, np.setdiff1d(changes.removed, view.delta_ids))
    sealed_changed = view.sealed is not None and len(removed) != len(view.removed)
    return replace(
        view,
        number=number,
        delta_ids=np.concatenate([view.delta_ids[kept], changes.added]),
        delta_rows=np.concatenate([view.delta_rows[kept], view.rows.read(changes.added)]),
        removed=removed if view.sealed else _NONE,
        emptied=view.sealed.entries.find_emptied(removed) if view.sealed and sealed_changed else view.emptied,
    )


def find_candidates(view: View, query: Vectors, wanted: int) -> Ids:
    """Ids (n,) of the pictures that may be among the best `wanted`: all that tie for the last place, however many."""
    found = [_search_delta(view, query, wanted)]
    if view.sealed is not None:
        found.append(_search_sealed(view, view.sealed, query, wanted))
    return np.concatenate(found)


def _search_delta(view: View, query: Vectors, wanted: int) -> Ids:
    if len(view.delta_ids) <= wanted:
        return view.delta_ids
    scores = view.delta_rows @ query  # (m,)
    worst = np.partition(scores, -wanted)[-wanted]
    return np.asarray(view.delta_ids[scores >= worst - _ROUNDING])


def _search_sealed(view: View, sealed: SealedIndex, query: Vectors, wanted: int) -> Ids:
    living = len(sealed.entries) - len(view.emptied)
    fetched, needed = wanted + _SPARE, wanted
    while True:
        entries = sealed.search(query, fetched, view.emptied)
        if len(entries) < min(needed, living):  # an approximate index that lost its way: a scan does not
            entries = np.setdiff1d(np.arange(len(sealed.entries)), view.emptied)
        scores = _score_entries(view, sealed, entries, query)
        order = np.argsort(-scores, kind="stable")
        entries, scores = entries[order], scores[order]
        if len(entries) >= living or scores[wanted - 1] - scores[-1] > _ROUNDING:
            return _expand(sealed, entries, scores, view.removed, wanted)
        fetched *= 4  # near-copies of one picture, most likely: who is in is decided by id, so all are candidates
        needed = fetched


def _score_entries(view: View, sealed: SealedIndex, entries: Ids, query: Vectors) -> Vectors:
    """(m,) cosines of the entries' rows, read a bounded block at a time."""
    scores = np.empty(len(entries), dtype=np.float32)
    for start in range(0, len(entries), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores[block] = view.rows.read(_choose_living(sealed, entries[block], view.removed)) @ query
    return scores


def _choose_living(sealed: SealedIndex, entries: Ids, removed: Ids) -> Ids:
    """(m,) a living picture of each entry, none of which is empty: the row of one that was removed may be a hole."""
    chosen = sealed.entries.representatives(entries)
    if len(removed):
        places = np.minimum(np.searchsorted(removed, chosen), len(removed) - 1)
        for place in np.flatnonzero(removed[places] == chosen).tolist():
            pictures = sealed.entries.expand(entries[place : place + 1])
            chosen[place] = pictures[~np.isin(pictures, removed)][0]
    return chosen


def _expand(sealed: SealedIndex, entries: Ids, scores: Vectors, removed: Ids, wanted: int) -> Ids:
    """The living pictures of the best entries: at least `wanted`, and all that tie with the last of them."""
    pictures = sealed.entries.expand(entries)
    sizes = np.diff(sealed.entries.offsets)[entries]
    scores = np.repeat(scores, sizes)
    if len(removed):
        living = ~np.isin(pictures, removed)
        pictures, scores = pictures[living], scores[living]
    if len(pictures) <= wanted:
        return pictures
    return np.asarray(pictures[scores >= scores[wanted - 1] - _ROUNDING])
