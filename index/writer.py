"""Writes to an index: rows synced first, then one durable transaction of the catalogue, then they are acknowledged.

Writers of several processes take turns (`BEGIN IMMEDIATE`). A picture is encoded before its transaction; if another
model's generation became the active one meanwhile, nothing is written and the writer has to encode again.
What may change here: kinds of write. Not: that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from index.catalog import Generation
from index.catalog_writer import CatalogWriter
from index.errors import GenerationChangedError, IndexFullError, OriginalClearedError
from index.layout import Layout, sync_path
from index.reserve import give_up_reserve, require_room
from index.types import Vectors, check_unit_vectors
from index.vectors import VectorWriter, row_crc


@dataclass(frozen=True, eq=False)
class EncodedPicture:
    """A picture that is safe on disk, and its vector."""

    content_hash: str
    path: str | None  # relative to its source's root; None: in originals/
    vector: Vectors = field(repr=False)  # (d,) float32, unit
    model: str  # the id of the model that made it
    copied: bool = False  # its copy in originals/ belongs to the write; what is imported has none


@dataclass(frozen=True, eq=False)
class Put:
    """Add an item, or give one that is there another picture, label and metadata."""

    key: str
    label: str | None
    metadata: dict[str, Any]
    source_id: int | None
    picture: EncodedPicture
    replace: bool = False  # other content under a key that is there: replace it, or leave it and say so
    item: int | None = None  # that was read; another one that has the key by now is left as it is
    version: int | None = None  # of the item as it was read: another write since then is not undone
    must_exist: bool = False  # an item of this key that was removed meanwhile does not come back


@dataclass(frozen=True)
class Edit:
    """Other fields for an item; its picture stays, and may lie at another path now."""

    item: int
    key: str
    label: str | None
    metadata: dict[str, Any]
    path: str | None = None  # where its picture lies now; None: where it did
    version: int | None = None  # of the item as it was read: another write since then is not undone


@dataclass(frozen=True)
class Remove:
    """An item goes."""

    item: int
    version: int | None = None  # of the item as it was read: another write since then keeps it


Write = Put | Edit | Remove
Copies = dict[Path, tuple[int, int]]  # files in originals/ -> which files they were when they were synced


class Outcome(Enum):
    """What came of a write."""

    ADDED = "added"
    REPLACED = "replaced"
    KEPT = "kept"  # the same content was there already
    EDITED = "edited"
    REMOVED = "removed"
    TAKEN = "taken"  # the key is another item's, or has other content, and replacing was not asked for
    GONE = "gone"  # no such item
    STALE = "stale"  # the item has changed since it was read


class IndexWriter:
    """Writes through one catalogue connection; used by one thread at a time."""

    def __init__(self, layout: Layout, catalog: CatalogWriter) -> None:
        self._layout = layout
        self._catalog = catalog
        self._files: dict[str, VectorWriter] = {}

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """All of these or none; they are durable and every search sees them when this returns.

        Raises GenerationChangedError if a picture was encoded by another model than the active generation's and
        OriginalClearedError if its copy is gone again (encode it again), IndexBusyError if other writers hold the
        index for too long, IndexFullError on a full disk, where what only removes or edits still goes through.
        """
        if not writes:
            return []
        folder, adds = self._layout.folder, any(isinstance(write, Put) for write in writes)
        if adds:
            require_room(folder)
        copies = sync_copies(self._layout, writes)
        while True:
            try:
                return self._apply_all(writes, copies)
            except IndexFullError:
                if adds or not give_up_reserve(folder):
                    raise

    def _apply_all(self, writes: Sequence[Write], copies: Copies) -> list[Outcome]:
        catalog = self._catalog
        with catalog.writing():
            generation = catalog.active_generation()
            _check_model(writes, generation)
            keep_copies(self._layout, copies)
            pictures: list[int] = []
            vectors: list[Vectors] = []
            outcomes = [self._apply(write, pictures, vectors) for write in writes]
            if pictures:
                self.write_rows(generation, pictures, np.stack(vectors))
        return outcomes

    def put_rows(self, generation: Generation, pictures: list[int], rows: Vectors) -> None:
        """Rows of pictures that are there already, for a generation that is being encoded; (n, d) float32, unit."""
        with self._catalog.writing():
            self.write_rows(generation, pictures, rows)

    def _apply(self, write: Write, pictures: list[int], vectors: list[Vectors]) -> Outcome:
        match write:
            case Put():
                return self._put(write, pictures, vectors)
            case Edit():
                return self._edit(write)
            case Remove():
                if not self._catalog.has_item(write.item):
                    return Outcome.GONE
                if self._is_stale(write.item, write.version):
                    return Outcome.STALE
                self._catalog.delete_item(write.item)
                return Outcome.REMOVED

    def _put(self, write: Put, pictures: list[int], vectors: list[Vectors]) -> Outcome:
        catalog, picture = self._catalog, write.picture
        owner = catalog.find_owner(write.key)
        if owner is None and write.must_exist:
            return Outcome.GONE
        if owner is not None and (write.item not in (None, owner.item) or self._is_stale(owner.item, write.version)):
            return Outcome.STALE
        if owner is None:
            item = catalog.insert_item(write.key, write.label, write.metadata, write.source_id)
        elif owner.content_hash == picture.content_hash:
            return Outcome.KEPT
        elif not write.replace or owner.source_id != write.source_id:
            return Outcome.TAKEN
        else:
            item = owner.item
            catalog.edit_item(item, write.key, write.label, write.metadata)
            catalog.delete_pictures(item)
        pictures.append(catalog.insert_picture(item, picture.content_hash, picture.path))
        vectors.append(picture.vector)
        catalog.log_added(pictures[-1:])  # at once: a later write of the batch may remove it again
        return Outcome.ADDED if owner is None else Outcome.REPLACED

    def _is_stale(self, item: int, version: int | None) -> bool:
        return version is not None and self._catalog.item(item).version != version

    def _edit(self, write: Edit) -> Outcome:
        catalog = self._catalog
        if not catalog.has_item(write.item):
            return Outcome.GONE
        if self._is_stale(write.item, write.version):
            return Outcome.STALE
        owner = catalog.find_owner(write.key)
        if owner is not None and owner.item != write.item:
            return Outcome.TAKEN
        catalog.edit_item(write.item, write.key, write.label, write.metadata)
        if write.path is not None:
            catalog.move_picture(catalog.picture_of_item(write.item).id, write.path)
        return Outcome.EDITED

    def write_rows(self, generation: Generation, pictures: list[int], rows: Vectors) -> None:
        """Inside a transaction: rows (n, d) of those `pictures` that were not removed meanwhile, by whomever."""
        living = [place for place, picture in enumerate(pictures) if self._catalog.has_picture(picture)]
        if living:
            self._write_rows(generation, [pictures[place] for place in living], rows[living])

    def _write_rows(self, generation: Generation, pictures: list[int], rows: Vectors) -> None:
        check_unit_vectors(rows)
        if generation.name not in self._files:
            path = self._layout.vectors(generation.name)
            self._files[generation.name] = VectorWriter(path, generation.embedding_size)
        self._files[generation.name].write(pictures, rows)
        self._catalog.insert_vectors(generation, pictures, [row_crc(row) for row in rows])


def sync_copies(layout: Layout, writes: Sequence[Write]) -> Copies:
    """Make the copies in originals/ outlive a power cut, with the names of all folders above them; which they are.

    Raises OriginalClearedError.
    """
    hashes = {write.picture.content_hash for write in writes if isinstance(write, Put) and write.picture.copied}
    paths = [layout.original(one) for one in sorted(hashes)]
    copies = {path: _identify(path) for path in paths}
    _sync_files(layout, paths)
    return copies


def keep_copies(layout: Layout, copies: Copies) -> None:
    """Inside the transaction, in which nobody clears originals away: the copies are there, and durable.

    A process may have been suspended since it made them: a compaction takes what nothing needs and is an hour old,
    and another writer may have copied the picture anew. Raises OriginalClearedError.
    """
    _sync_files(layout, [path for path, known in copies.items() if _identify(path) != known])


def _identify(path: Path) -> tuple[int, int]:
    """What another file of this name differs in; a file that was only made young again does so, too."""
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise OriginalClearedError(
            "the picture's copy was cleared away before it was written to the catalogue",
            where=path,
            remedy="add it again",
        ) from error
    return found.st_ino, found.st_ctime_ns


def _sync_files(layout: Layout, paths: Sequence[Path]) -> None:
    for path in paths:
        sync_path(path)
    for folder in {path.parent for path in paths} | ({layout.originals, layout.folder} if paths else set()):
        sync_path(folder)


def _check_model(writes: Sequence[Write], generation: Generation) -> None:
    for write in writes:
        if isinstance(write, Put) and write.picture.model != generation.model_id:
            raise GenerationChangedError(
                "another model's generation has become the active one",
                expected=f"vectors of model {generation.model_id[:12]}...",
                found=f"of model {write.picture.model[:12]}...",
                remedy="encode again with the index's model",
            )
