"""Vectors -> the nearest items, exact to the newest acknowledged write.

A search first catches up with the catalogue's change number, then searches the sealed snapshot and, exactly, the
delta after it; the candidates are scored again from `vectors.f32` by one routine and ordered by (score, item id).
So every process sees every acknowledged write, and equal questions at the same change get equal answers.
What may change here: how candidates are found. Not: how they are scored and ordered.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import TracebackType

import faiss
import numpy as np

from index.bundle import Bundle, read_bundle
from index.catalog import Catalog, Generation, PictureRecord, Snapshot, SourceState
from index.encoder import Encoder
from index.errors import ItemNotFoundError, ModelMismatchError, UsageError, VectorError
from index.layout import Layout
from index.snapshot import open_snapshot
from index.types import Ids, IndexInfo, Item, Match, SearchResult, Vectors, check_unit_vectors, score_pairs
from index.vectors import VectorMap

MAX_K = 1000
_ATTEMPTS = 3  # to find a snapshot that the catalogue names, before it counts as missing
_SPARE = 32  # candidates beyond k that a snapshot is asked for at first
_ROUNDING = 1e-5  # no float32 sum over a unit vector is further from the final score than this


@dataclass(frozen=True)
class _View:
    """The index after one change; never modified, so that threads share it."""

    number: int  # of the change
    generation: Generation
    snapshot: Snapshot | None
    index: faiss.Index | None  # the snapshot, mapped; None where there is none or it can not be trusted
    rows: VectorMap
    delta_ids: Ids  # (m,) picture ids that are not in the snapshot
    delta_rows: Vectors  # (m, d)
    removed: Ids  # (r,) picture ids that are in the snapshot and live no more


class Searcher:
    """One process's view of an index folder; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Raises IndexDataError if the folder holds no index that this program reads."""
        self.layout = Layout(folder)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._catalogs: list[Catalog] = []
        self._view: _View | None = None
        self.info()

    @property
    def _catalog(self) -> Catalog:
        """This thread's connection."""
        catalog: Catalog | None = getattr(self._local, "catalog", None)
        if catalog is None:
            catalog = self._local.catalog = Catalog(self.layout.catalog)
            with self._lock:
                self._catalogs.append(catalog)
        return catalog

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            while self._catalogs:
                self._catalogs.pop().close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def generation(self) -> Generation:
        """The generation that answers now."""
        with self._caught_up() as view:
            return view.generation

    def read_bundle(self) -> Bundle:
        """The bundle that the active generation was built with. Raises BundleError."""
        return read_bundle(self.layout.model(self.generation.name))

    def search(self, query: Vectors, k: int, *, model: str) -> SearchResult:
        """The min(k, items) items nearest to a unit vector (d,) float32 that `model` (an id) made, best first.

        Raises UsageError for a k outside 1..1000, ModelMismatchError if the index is another model's, and VectorError
        for a vector of another size.
        """
        if not 1 <= k <= MAX_K:
            raise UsageError("k is out of range", expected=f"1 to {MAX_K}", found=k)
        with self._caught_up() as view:
            if view.generation.model_id != model:
                raise ModelMismatchError(
                    "the index holds another model's vectors",
                    where=self.layout.folder,
                    expected=f"model {view.generation.model_id[:12]}...",
                    found=f"{model[:12]}...",
                )
            if query.shape != (view.generation.embedding_size,):
                raise VectorError("wrong size", expected=f"({view.generation.embedding_size},)", found=query.shape)
            check_unit_vectors(query[None])
            pictures = _find_candidates(view, query, k)
            scores = score_pairs(view.rows.read(pictures), query)
            items = self._catalog.items_of_pictures(pictures)
            matches = _rank(pictures, scores, items)[:k]
            return SearchResult(tuple(matches), self._info(view))

    def info(self) -> IndexInfo:
        """What the index says of itself now."""
        with self._caught_up() as view:
            return self._info(view)

    def _info(self, view: _View) -> IndexInfo:
        recall = view.snapshot.recall if view.snapshot else None
        return IndexInfo(view.generation.name, view.generation.model_id, self._catalog.count_items(), recall)

    def snapshot(self) -> Snapshot | None:
        """The sealed snapshot in use."""
        with self._caught_up() as view:
            return view.snapshot

    def sample_items(self, wanted: int) -> list[Item]:
        """Up to `wanted` items, evenly spread."""
        return self._catalog.sample_items(wanted)

    def sources(self) -> list[SourceState]:
        """Every source that was indexed, and how far that has come."""
        return self._catalog.sources()

    def picture(self, item: int) -> PictureRecord:
        """Where an item's picture is. Raises ItemNotFoundError."""
        record = self._catalog.picture_of_item(item)
        if record is None:
            raise ItemNotFoundError("no such item", expected="the id of an item", found=item)
        return record

    # Catching up

    @contextmanager
    def _caught_up(self) -> Iterator[_View]:
        """A view at exactly the change that this thread's read transaction sees, for as long as it is open."""
        catalog = self._catalog
        for attempt in count():
            with catalog.reading():
                number = catalog.change_number()
                view = self._view
                if view is None or view.number < number:
                    try:
                        with self._lock:
                            view = self._advance(catalog, number, trust=attempt < _ATTEMPTS)
                    except FileNotFoundError:  # replaced by a newer snapshot since this transaction began
                        continue
                if view.number == number:
                    yield view
                    return
            # Another thread's view is ahead of this transaction: the next transaction sees what it saw.

    def _advance(self, catalog: Catalog, number: int, *, trust: bool) -> _View:
        view = self._view
        if view is None or catalog.must_reload(view.number):
            self._view = self._load(catalog, number, trust=trust)
        elif view.number < number:
            self._view = self._extend(catalog, view, number)
        else:  # another thread advanced it meanwhile
            return view
        return self._view

    def _load(self, catalog: Catalog, number: int, *, trust: bool) -> _View:
        generation = catalog.active_generation()
        rows = VectorMap(self.layout.vectors(generation.name), generation.embedding_size)
        snapshot = catalog.snapshot(generation)
        index = open_snapshot(self.layout, generation, snapshot, must_exist=trust) if snapshot else None
        if snapshot is None or index is None:
            delta, removed = catalog.vector_ids(generation), np.empty(0, dtype=np.int64)
        else:
            delta, removed = catalog.changes_after(snapshot.change_number)
        return _View(number, generation, snapshot, index, rows, delta, rows.read(delta), removed)

    def _extend(self, catalog: Catalog, view: _View, number: int) -> _View:
        added, removed = catalog.changes_after(view.number)
        kept = ~np.isin(view.delta_ids, removed)
        gone = np.setdiff1d(removed, view.delta_ids)
        return replace(
            view,
            number=number,
            delta_ids=np.concatenate([view.delta_ids[kept], added]),
            delta_rows=np.concatenate([view.delta_rows[kept], view.rows.read(added)]),
            removed=np.union1d(view.removed, gone),
        )


def _find_candidates(view: _View, query: Vectors, k: int) -> Ids:
    """Ids (n,) of the pictures that may be among the best `k`: all that tie for the last place, however many."""
    found = [_search_delta(view, query, k)]
    if view.index is not None:
        found.append(_search_snapshot(view.index, view.removed, query, k))
    return np.concatenate(found)


def _search_snapshot(index: faiss.Index, removed: Ids, query: Vectors, k: int) -> Ids:
    faiss.omp_set_num_threads(1)  # of this thread: the callers are a thread a core already
    parameters = None
    if len(removed):
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorNot(faiss.IDSelectorBatch(removed)))  # type: ignore[call-arg]
    wanted = k + _SPARE
    while True:
        scores, ids = index.search(query[None], min(wanted, index.ntotal), params=parameters)
        if wanted >= index.ntotal or scores[0][k - 1] - scores[0][-1] > _ROUNDING:
            return np.asarray(ids[0][ids[0] >= 0], dtype=np.int64)
        wanted *= 4  # copies of one picture, most likely: who is in is decided by id, so all of them are candidates


def _search_delta(view: _View, query: Vectors, k: int) -> Ids:
    if len(view.delta_ids) <= k:
        return view.delta_ids
    scores = view.delta_rows @ query  # (m,)
    worst = np.partition(scores, -k)[-k]
    near: Ids = view.delta_ids[scores >= worst - _ROUNDING]
    return near


def _rank(pictures: Ids, scores: Vectors, items: dict[int, Item]) -> list[Match]:
    """An item a match, scored by its best picture, by descending score, equal ones by id."""
    best: dict[int, Match] = {}
    for picture, score in zip(pictures.tolist(), scores.tolist(), strict=True):
        item = items[picture]
        if item.id not in best or score > best[item.id].score:
            best[item.id] = Match(item, score)
    return sorted(best.values(), key=lambda match: (-match.score, match.item.id))


def search_picture(searcher: Searcher, encoder: Encoder, data: bytes, k: int) -> SearchResult:
    """The items that look most like a picture file: what the command line and the service both call.

    Raises ImageError, VectorError or UsageError.
    """
    return searcher.search(encoder.encode_bytes(data), k, model=encoder.bundle.manifest.model_id)
