"""Vectors -> the nearest items, exact to the newest acknowledged write.

A search first catches up with the catalogue's change number, then searches the sealed snapshot and, exactly, the
delta after it; the candidates are scored again from `vectors.f32` by one routine and ordered by (score, item id).
So every process sees every acknowledged write, and equal questions at the same change get equal answers.
What may change here: how candidates are found. Not: how they are scored and ordered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from index.bundle import Bundle, read_bundle
from index.catalog import Generation, PictureRecord, Snapshot, SourceState
from index.encoder import Encoder
from index.errors import ModelMismatchError, UsageError, VectorError
from index.layout import Layout
from index.types import IndexInfo, Item, Match, SearchResult, Vectors, check_unit_vectors, score_pairs, unit_vectors
from index.view import View, find_candidates
from index.view_keeper import ViewKeeper

MAX_K = 1000
_PAGE = 1000  # items read at a time


@dataclass(frozen=True)
class Bounds:
    """What may be among the results."""

    min_score: float | None = None  # cosine below which items are left out
    exclude: frozenset[int] = frozenset()  # ids of items that are left out


_ANY = Bounds()


class Searcher:
    """One process's view of an index folder; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Raises IndexDataError if the folder holds no index that this program reads."""
        self.layout = Layout(folder)
        self._keeper = ViewKeeper(self.layout)
        try:
            self.info()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every thread's connection."""
        self._keeper.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Questions

    def search(self, query: Vectors, k: int, *, model: str, bounds: Bounds = _ANY) -> SearchResult:
        """The items nearest to a unit vector (d,) float32 that `model` (an id) made: min(k, matches), best first.

        Raises UsageError for a k outside 1..1000, ModelMismatchError if the index is another model's, and VectorError
        for a vector of another size.
        """
        with self._keeper.caught_up() as view:
            if view.generation.model_id != model:
                raise ModelMismatchError(
                    "the index holds another model's vectors",
                    where=self.layout.folder,
                    expected=f"model {view.generation.model_id[:12]}...",
                    found=f"{model[:12]}...",
                )
            return self._search(view, query, k, bounds)

    def search_item(self, item: int, k: int, bounds: Bounds = _ANY) -> SearchResult:
        """The items nearest to one that is there, itself excluded. Raises ItemNotFoundError or UsageError."""
        with self._keeper.caught_up() as view:
            picture = self._keeper.catalog.picture_of_item(item)
            query = view.rows.read(np.array([picture.id], dtype=np.int64))[0]
            return self._search(view, query, k, replace(bounds, exclude=bounds.exclude | {item}))

    def _search(self, view: View, query: Vectors, k: int, bounds: Bounds) -> SearchResult:
        if not 1 <= k <= MAX_K:
            raise UsageError("k is out of range", expected=f"1 to {MAX_K}", found=k)
        if query.shape != (view.generation.embedding_size,):
            raise VectorError("wrong size", expected=f"({view.generation.embedding_size},)", found=query.shape)
        check_unit_vectors(query[None])
        pictures = find_candidates(view, query, k + len(bounds.exclude))
        scores = score_pairs(view.rows.read(pictures), query)
        items = self._keeper.catalog.items_of_pictures(pictures)
        ranked = rank(pictures.tolist(), scores.tolist(), items)
        least = -2.0 if bounds.min_score is None else bounds.min_score
        found = [match for match in ranked if match.item.id not in bounds.exclude and match.score >= least]
        return SearchResult(tuple(found[:k]), self._info(view))

    # What the index says of itself

    def info(self) -> IndexInfo:
        """What the index says of itself now."""
        with self._keeper.caught_up() as view:
            return self._info(replace(view, snapshot=self._keeper.catalog.snapshot(view.generation)))

    def _info(self, view: View) -> IndexInfo:
        recall = view.snapshot.recall if view.snapshot else None
        return IndexInfo(view.generation.name, view.generation.model_id, self._keeper.catalog.count_items(), recall)

    @property
    def generation(self) -> Generation:
        """The generation that answers now."""
        with self._keeper.caught_up() as view:
            return view.generation

    def snapshot(self) -> Snapshot | None:
        """The newest sealed snapshot."""
        with self._keeper.settled() as view:
            return view.snapshot

    def distrusts_snapshot(self) -> bool:
        """Whether there should be a snapshot and it is missing or damaged, so that searches scan all rows."""
        with self._keeper.settled() as view:
            return view.snapshot is not None and view.sealed is None

    def unsealed(self) -> tuple[int, int]:
        """Pictures in the delta, and pictures in the snapshot that live no more."""
        with self._keeper.settled() as view:
            return len(view.delta_ids), len(view.removed)

    def read_bundle(self) -> Bundle:
        """The bundle that the active generation was built with. Raises BundleError."""
        return read_bundle(self.layout.model(self.generation.name))

    def item(self, id_: int) -> Item:
        """An item. Raises ItemNotFoundError."""
        with self._keeper.reading() as catalog:
            return catalog.item(id_)

    def find_item(self, key: str) -> Item | None:
        """An item by its key."""
        with self._keeper.reading() as catalog:
            return catalog.find_item(key)

    def list_items(self, after: int, wanted: int) -> list[Item]:
        """Up to `wanted` items with an id above `after`, ascending."""
        with self._keeper.reading() as catalog:
            return catalog.list_items(after, wanted)

    def iterate_items(self, after: int = 0, limit: int | None = None) -> Iterator[Item]:
        """Items with an id above `after`, ascending, at most `limit`; read a bounded page at a time."""
        left = limit if limit is not None else sys.maxsize
        while left and (page := self.list_items(after, min(left, _PAGE))):
            yield from page
            after, left = page[-1].id, left - len(page)

    def sample_items(self, wanted: int) -> list[Item]:
        """Up to `wanted` items, evenly spread."""
        with self._keeper.reading() as catalog:
            return catalog.sample_items(wanted)

    def sources(self) -> list[SourceState]:
        """Every source that is kept in step with, and how far that has come."""
        with self._keeper.reading() as catalog:
            return catalog.sources()

    def picture(self, item: int) -> PictureRecord:
        """Where an item's picture is. Raises ItemNotFoundError."""
        with self._keeper.reading() as catalog:
            return catalog.picture_of_item(item)


def rank(pictures: list[int], scores: list[float], items: dict[int, Item]) -> list[Match]:
    """An item a match, scored by its best picture, by descending score, equal ones by id."""
    best: dict[int, Match] = {}
    for picture, score in zip(pictures, scores, strict=True):
        item = items[picture]
        if item.id not in best or score > best[item.id].score:
            best[item.id] = Match(item, score)
    return sorted(best.values(), key=lambda match: (-match.score, match.item.id))


def search_picture(searcher: Searcher, encoder: Encoder, data: bytes, k: int, bounds: Bounds = _ANY) -> SearchResult:
    """The items that look most like a picture file: what the command line and the service both call.

    Raises ImageError, VectorError, ModelMismatchError or UsageError.
    """
    return search_views(searcher, encoder, [data], k, bounds)


def search_views(
    searcher: Searcher, encoder: Encoder, views: Sequence[bytes], k: int, bounds: Bounds = _ANY
) -> SearchResult:
    """The items that look most like the mean of several pictures of one thing. Raises what `search_picture` does."""
    vectors = [encoder.encode_bytes(data) for data in views]
    return searcher.search(combine_views(vectors), k, model=encoder.bundle.manifest.model_id, bounds=bounds)


def combine_views(vectors: Sequence[Vectors]) -> Vectors:
    """(d,) the unit vector of the mean of unit vectors (d,) each. Raises VectorError if they cancel out."""
    if len(vectors) == 1:
        return vectors[0]
    mean: Vectors = unit_vectors(np.mean(vectors, axis=0, keepdims=True))[0]
    return mean
