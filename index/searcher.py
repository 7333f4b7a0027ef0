"""Vectors -> the nearest items, exact to the newest acknowledged write.

A search first catches up with the catalogue's change number, then searches the sealed snapshot and, exactly, the
delta after it; the candidates are scored again from `vectors.f32` by one routine and ordered by (score, item id).
So every process sees every acknowledged write, and equal questions at the same change get equal answers.
What may change here: how candidates are found. Not: how they are scored and ordered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from index.bundle import Bundle, read_bundle
from index.calibration import Calibration, read_calibration
from index.catalog import Generation, PictureRecord, Snapshot, SourceState
from index.encoder import Encoder
from index.errors import ModelMismatchError
from index.finding import Asked, find_page
from index.layout import Layout
from index.manifest import MANIFEST_NAME, read_manifest
from index.measurements import note_value, timing
from index.queries import Bounds, Page, Query, combine_views, make_probes
from index.types import IndexInfo, Item, SearchResult, Vectors
from index.view import View
from index.view_keeper import ViewKeeper

_PAGE = 1000  # items read at a time


_ANY = Bounds()


class Searcher:
    """One process's view of an index folder; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Raises IndexDataError if the folder holds no index that this program reads."""
        self.layout = Layout(folder)
        self._keeper = ViewKeeper(self.layout)
        self._calibration: tuple[tuple[int, ...] | None, Calibration | None] = (None, None)  # of which file
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

    def ask(self, query: Query, page: Page, bounds: Bounds = _ANY) -> SearchResult:
        """The items nearest to what is asked for, best first: min(k, matches), and a cursor where there are more.

        Raises UsageError for a k outside 1..1000, more than 10,000 results deep, nothing to be near to, a cursor that
        does not fit (CursorError, CursorExpiredError) or `min_probability` where there are no probabilities;
        ModelMismatchError if the index is another model's; VectorError for a vector of another size, or a sum of
        length 0; ItemNotFoundError for an id that names none.
        """
        with timing("search"), self._keeper.caught_up() as view:
            self._check_model(view, query.model)
            positives = [*query.positives, *self._vectors_of(view, query.positive_ids)]
            negatives = [*query.negatives, *self._vectors_of(view, query.negative_ids)]
            probes = make_probes(positives, negatives, query.strategy, view.generation.embedding_size)
            asked = Asked(probes, replace(bounds, exclude=bounds.exclude | query.ids), page)
            matches, more = find_page(view, self._keeper.catalog, asked, self._calibration_of(view.generation))
            result = SearchResult(matches, self._info(view), more)
        if result.matches:
            note_value("best_score", result.matches[0].score)
        return result

    def search(self, query: Vectors, k: int, *, model: str, bounds: Bounds = _ANY) -> SearchResult:
        """The items nearest to one unit vector (d,) float32 that `model` (an id) made. Raises what `ask` does."""
        return self.ask(Query((query,), model=model), Page(k), bounds)

    def search_item(self, item: int, k: int, bounds: Bounds = _ANY) -> SearchResult:
        """The items nearest to one that is there, itself excluded. Raises what `ask` does."""
        return self.ask(Query(positive_ids=(item,)), Page(k), bounds)

    def check_model(self, model: str) -> None:
        """Raises ModelMismatchError if the index is another model's than this one (an id)."""
        with self._keeper.caught_up() as view:
            self._check_model(view, model)

    def _check_model(self, view: View, model: str | None) -> None:
        if model is not None and view.generation.model_id != model:
            raise ModelMismatchError(
                "the index holds another model's vectors",
                where=self.layout.folder,
                expected=f"model {view.generation.model_id[:12]}...",
                found=f"{model[:12]}...",
            )

    def _vectors_of(self, view: View, items: Sequence[int]) -> list[Vectors]:
        """The vector (d,) of each item's first picture. Raises ItemNotFoundError."""
        pictures = [self._keeper.catalog.picture_of_item(item).id for item in items]
        return list(view.rows.read(np.array(pictures, dtype=np.int64)))

    def _calibration_of(self, generation: Generation) -> Calibration | None:
        """What the bundle of a generation says now; read again where another file has taken its place.

        Raises BundleError.
        """
        model = self.layout.model(generation.name)
        found = _identify(model / MANIFEST_NAME)
        known, calibration = self._calibration  # one value, since threads share it
        if found is None or found != known:
            calibration = read_calibration(read_manifest(model))
            self._calibration = (found, calibration)
        return calibration

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

    def earlier_generations(self) -> list[Generation]:
        """Those that can be gone back to, the last one first."""
        with self._keeper.reading() as catalog:
            return catalog.generations()[1:]

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

    def prepare(self, generation: str) -> None:
        """Make ready for a generation that is about to answer, so that the first search after the swap does not."""
        self._keeper.prepare(generation)

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


def _identify(path: Path) -> tuple[int, ...] | None:
    """What another file at this path differs in, a restored one, too; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


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
