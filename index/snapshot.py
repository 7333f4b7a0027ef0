"""Sealed snapshots: FAISS files that hold what lived after one change, are never modified, and are mapped by readers.

A snapshot is derived: it can always be built again from `vectors.f32`. What may change here: recipes. Not: that a
sealed file stays as it is, since other processes have it mapped.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import faiss
import numpy as np

from index.catalog import Catalog, Generation, Snapshot
from index.errors import IndexDataError
from index.layout import Layout, sync_path
from index.manifest import file_digest
from index.types import Ids, Vectors
from index.vectors import VectorMap

RECIPE = "Flat"  # the one recipe at this stage: exact
_PROBES = 100  # rows that recall@10 is measured with
_log = logging.getLogger(__name__)


def seal_snapshot(layout: Layout, catalog: Catalog) -> Snapshot | None:
    """Seal all that lives in the active generation now, and switch to it; None where nothing lives.

    Writers go on meanwhile: what they add is the delta that readers search besides.
    """
    with catalog.reading():
        generation = catalog.active_generation()
        number = catalog.change_number()
        ids = catalog.vector_ids(generation)
        old = catalog.snapshot(generation)
        added, removed = catalog.changes_after(old.change_number if old else 0)
    if not len(ids) or not (len(added) or len(removed)):
        return old
    rows = VectorMap(layout.vectors(generation.name), generation.embedding_size).read(ids)
    index = build_faiss(rows, ids)
    name = f"snapshot-{number}.faiss"
    path = layout.generation(generation.name) / name
    _write_faiss(index, path)
    snapshot = Snapshot(number, name, file_digest(path), RECIPE, len(ids), measure_recall(index, rows, ids))
    with catalog.writing():
        catalog.put_snapshot(generation, snapshot)
    if old is not None and old.file != name:
        (path.parent / old.file).unlink(missing_ok=True)  # who has it mapped keeps it
    return snapshot


def build_faiss(rows: Vectors, ids: Ids) -> faiss.Index:
    """A FAISS index over unit `rows` (n, d) that answers with `ids` (n,)."""
    index = faiss.IndexIDMap2(faiss.index_factory(rows.shape[1], RECIPE, faiss.METRIC_INNER_PRODUCT))
    index.add_with_ids(rows, ids)
    return index


def _write_faiss(index: faiss.Index, path: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(descriptor)
    draft = Path(name)
    try:
        faiss.write_index(index, name)
        draft.chmod(0o644)
        sync_path(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def measure_recall(index: faiss.Index, rows: Vectors, ids: Ids, k: int = 10) -> float:
    """recall@k of `index` against exact search, on rows of its own, evenly spread; equal scores count as found."""
    probes = rows[np.linspace(0, len(rows) - 1, min(_PROBES, len(rows)), dtype=np.int64)]
    k = min(k, len(rows))
    exact = probes @ rows.T  # (p, n)
    worst = np.partition(exact, -k, axis=1)[:, -k]  # (p,) the k-th best score
    _, found = index.search(probes, k)
    places = np.searchsorted(ids, found)
    scores = np.take_along_axis(exact, np.clip(places, 0, len(ids) - 1), axis=1)
    return float(np.mean((scores >= worst[:, None] - 1e-6) & (found >= 0)))


def open_snapshot(
    layout: Layout, generation: Generation, snapshot: Snapshot, *, must_exist: bool
) -> faiss.Index | None:
    """Map a snapshot after checking its digest; None, and a line in the log, where it can not be trusted.

    Without one, a search is exact over all rows: slower, and right. Raises FileNotFoundError if it `must_exist`.
    """
    path = layout.generation(generation.name) / snapshot.file
    try:
        found = file_digest(path)
        if found != snapshot.digest:
            raise IndexDataError(
                "the snapshot is not the one that was sealed",
                where=path,
                expected=f"SHA-256 {snapshot.digest[:12]}...",
                found=f"{found[:12]}...",
            )
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except FileNotFoundError:
        if must_exist:
            raise
        _log.warning("%s: the snapshot is missing; searching all rows exactly", path)
    except (OSError, RuntimeError, IndexDataError) as error:
        _log.warning("%s; searching all rows exactly", error)
    return None
