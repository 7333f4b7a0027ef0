"""Sealed snapshots: FAISS files that hold what lived after one change, are never modified, and are mapped by readers.

A snapshot is derived: it can always be built again from `vectors.f32`. Beside the FAISS file lies one that says which
pictures each entry stands for, since identical vectors are one entry. What may change here: how a snapshot is
measured. Not: that a sealed file stays as it is, since other processes have it mapped.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from index.catalog import Catalog, Generation, Snapshot
from index.catalog_writer import CatalogWriter
from index.copies import Entries, group_copies
from index.errors import CrossmatchError, IndexDataError
from index.holding import keeping_files
from index.layout import Layout, put_whole
from index.manifest import file_digest
from index.recipes import build_faiss, parse_recipe, search_faiss
from index.reserve import require_room
from index.types import Ids, Vectors
from index.vectors import VectorMap, explain_damaged, find_damaged

_NONE: Ids = np.empty(0, dtype=np.int64)
_BLOCK = 16_384  # rows read at a time
_FEWEST = 1024  # changed pictures that are worth a new snapshot
_SHARE = 0.2  # of a snapshot's pictures, changed, that are
_PROBES = 100  # rows that recall@10 is measured with
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SealedIndex:
    """A snapshot, mapped."""

    index: faiss.Index
    entries: Entries

    def search(self, query: Vectors, wanted: int, emptied: Ids) -> Ids:
        """Entries (m,), m at most `wanted`, nearest to a unit `query` (d,), best first, none of `emptied`."""
        return search_faiss(self.index, query, wanted, emptied)


def seal_snapshot(layout: Layout, catalog: CatalogWriter, generation: Generation | None = None) -> Snapshot | None:
    """Seal all that a generation (the active one) holds now, and switch to it; None where it holds nothing.

    Writers go on meanwhile: what they add is the delta that readers search besides. One process seals at a time.
    Raises IndexDataError for rows that are not what was written.
    """
    with layout.seal_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _seal(layout, catalog, generation)


def _seal(layout: Layout, catalog: CatalogWriter, generation: Generation | None) -> Snapshot | None:
    with catalog.reading():
        generation = generation or catalog.active_generation()
        number = catalog.change_number()
        pictures, crcs = catalog.vector_crcs(generation)
        old = catalog.snapshot(generation)
        changes = catalog.changes_after(old.change_number if old else 0)
        known = old is not None and old.recipe == parse_recipe(generation.recipe).factory
        lacking = catalog.pictures_without_vector(generation)
    if lacking:  # their `add` is behind `number` already: a reader would find them neither here nor in the delta
        return old
    if not len(pictures) or (known and not len(changes.added) and not len(changes.removed)):
        return old
    rows = VectorMap(layout.vectors(generation.name), generation.embedding_size).read(pictures)
    damaged = pictures[find_damaged(rows, crcs)]
    if len(damaged):
        raise explain_damaged(layout.vectors(generation.name), damaged)
    snapshot = _write_snapshot(layout, generation, number, group_copies(pictures, rows, crcs), rows)
    with catalog.writing():
        catalog.put_snapshot(generation, snapshot)
    if old is not None:
        for name in {old.file, old.entries_file} - {snapshot.file, snapshot.entries_file}:
            (layout.generation(generation.name) / name).unlink(missing_ok=True)  # who has it mapped keeps it
    return snapshot


def seal_when_due(layout: Layout, catalog: CatalogWriter) -> Snapshot | None:
    """Seal if the delta or what lives no more has outgrown its share of the snapshot; the snapshot there is then.

    Writes are acknowledged before it: where sealing fails (a full disk, damaged rows), that is said in the log.
    """
    with catalog.reading():
        generation = catalog.active_generation()
        snapshot = catalog.snapshot(generation)
        changes = catalog.changes_after(snapshot.change_number if snapshot else 0)
    due = max(_FEWEST, int((snapshot.pictures if snapshot else 0) * _SHARE))
    if len(changes.added) + len(changes.removed) <= due:
        return snapshot
    try:
        require_room(layout.folder)  # what the reserve gave up is for removals
        return seal_snapshot(layout, catalog)
    except (OSError, RuntimeError, CrossmatchError) as error:  # RuntimeError: FAISS's own, for a file it can not write
        _log.warning("%s: no snapshot was sealed; searches stay exact, and grow slower: %s", layout.folder, error)
        return snapshot


def find_damaged_pictures(layout: Layout, catalog: Catalog, generation: Generation) -> Ids:
    """Ids (n,) of the pictures whose rows in `vectors.f32` are not what was written."""
    damaged = [_NONE]
    with keeping_files(layout):  # a compaction punches out what is removed meanwhile: later
        pictures, crcs = catalog.vector_crcs(generation)
        rows = VectorMap(layout.vectors(generation.name), generation.embedding_size)
        for start in range(0, len(pictures), _BLOCK):
            block = pictures[start : start + _BLOCK]
            damaged.append(block[find_damaged(rows.read(block), crcs[start : start + _BLOCK])])
    return np.concatenate(damaged)


def _write_snapshot(layout: Layout, generation: Generation, number: int, entries: Entries, rows: Vectors) -> Snapshot:
    recipe = parse_recipe(generation.recipe)
    distinct = rows[np.searchsorted(entries.sorted_pictures, entries.representatives())]  # (m, d)
    index = build_faiss(distinct, recipe)
    folder = layout.generation(generation.name)
    faiss_path, entries_path = folder / f"snapshot-{number}.faiss", folder / f"snapshot-{number}.entries"
    put_whole(faiss_path, lambda path: faiss.write_index(index, str(path)))
    put_whole(entries_path, lambda path: entries.to_array().tofile(path))
    return Snapshot(
        change_number=number,
        file=faiss_path.name,
        digest=file_digest(faiss_path),
        entries_file=entries_path.name,
        entries_digest=file_digest(entries_path),
        recipe=recipe.factory,
        entries=len(entries),
        pictures=len(rows),
        recall=measure_recall(index, distinct),
    )


def measure_recall(index: faiss.Index, rows: Vectors, k: int = 10) -> float:
    """recall@k of `index` against exact search, on rows of its own, evenly spread; equal scores count as found."""
    probes = rows[np.linspace(0, len(rows) - 1, min(_PROBES, len(rows)), dtype=np.int64)]
    k = min(k, len(rows))
    found = 0
    for probe in probes:
        exact = rows @ probe  # (m,)
        worst = np.partition(exact, -k)[-k]  # the k-th best score
        found += int((exact[search_faiss(index, probe, k, _NONE)] >= worst - 1e-6).sum())
    return found / (len(probes) * k)


def open_snapshot(
    layout: Layout, generation: Generation, snapshot: Snapshot, *, must_exist: bool
) -> SealedIndex | None:
    """Map a snapshot after checking its digests; None, and a line in the log, where it can not be trusted.

    Without one, a search is exact over all rows: slower, and right. Raises FileNotFoundError if it `must_exist`.
    """
    folder = layout.generation(generation.name)
    try:
        _check_digest(folder / snapshot.file, snapshot.digest)
        _check_digest(folder / snapshot.entries_file, snapshot.entries_digest)
        entries = Entries.from_array(np.memmap(folder / snapshot.entries_file, dtype="<i8", mode="r"))
        index = faiss.read_index(str(folder / snapshot.file), faiss.IO_FLAG_MMAP_IFC)
        _check_count(folder / snapshot.file, index.ntotal, len(entries))
        return SealedIndex(index, entries)
    except FileNotFoundError as error:
        if must_exist:
            raise
        _log.warning("%s: the snapshot is missing; searching all rows exactly", error.filename)
    except (OSError, RuntimeError, ValueError, IndexDataError) as error:
        if must_exist and not (folder / snapshot.file).exists():  # replaced by a newer one since it was checked
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), snapshot.file) from error
        _log.warning("%s; searching all rows exactly", error)
    return None


def _check_digest(path: Path, digest: str) -> None:
    found = file_digest(path)
    if found != digest:
        raise IndexDataError(
            "the snapshot is not the one that was sealed",
            where=path,
            expected=f"SHA-256 {digest[:12]}...",
            found=f"{found[:12]}...",
        )


def _check_count(path: Path, found: int, entries: int) -> None:
    if found != entries:
        raise IndexDataError("the snapshot does not fit its entries", where=path, expected=entries, found=found)
