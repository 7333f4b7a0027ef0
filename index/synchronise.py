"""A source of pictures -> the index in step with it: only new or changed files are encoded.

A file that moved keeps its item; one that vanished takes its item with it, if this source brought it. Content that the
source had already, under whichever name, is not encoded again: its row is copied. Batches are committed in one durable
transaction each, and successive snapshots are sealed on the way, so that searches answer from the first few hundred
pictures on. Killed anywhere, the same call goes on where it was.
What may change here: batch sizes and order of work. Not: that a bad picture never ends a build.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from index.catalog import SourceItem
from index.catalog_writer import CatalogWriter
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.encoding import SkippedPicture, encode_picture, explain_skip, hash_content, relate_path
from index.errors import ImageError, SourceError, VectorError
from index.images import read_bytes
from index.layout import Layout
from index.snapshot import seal_snapshot
from index.sources import Source, SourcePicture
from index.vectors import VectorMap, row_crc
from index.writer import Edit, EncodedPicture, IndexWriter, Outcome, Put, Remove, Write

_AHEAD = 64  # pictures for each thread that are encoded while a transaction is written
_BATCH = 128  # pictures a transaction: about a second's work of two cores
_FIRST_SEAL = 1024  # pictures; then whenever the delta has outgrown the snapshot
_TAKEN = "the key belongs to an item that this source did not bring"

OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class SyncReport:
    """What a synchronisation did, in items."""

    added: int = 0
    replaced: int = 0
    moved: int = 0
    edited: int = 0
    removed: int = 0
    kept: int = 0
    skipped: tuple[SkippedPicture, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """A listed picture whose content the source had already, under its own key or another."""

    picture: SourcePicture
    content_hash: str


@dataclass(frozen=True)
class _Step:
    """A write, and how it is reported."""

    write: Write
    key: str
    counted: str | None = None  # in place of what the write's outcome is called


@dataclass
class _Tally:
    """What is being counted while a synchronisation runs."""

    counts: Counter[str] = field(default_factory=Counter)
    skipped: list[SkippedPicture] = field(default_factory=list)

    def report(self) -> SyncReport:
        return SyncReport(**self.counts, skipped=tuple(self.skipped))


class Synchroniser:
    """Brings an index into step with one source; used once."""

    def __init__(
        self, layout: Layout, catalog: CatalogWriter, pool: EncoderPool, source: Source, source_id: int
    ) -> None:
        self._layout, self._catalog, self._pool, self._source = layout, catalog, pool, source
        self._source_id = source_id
        self._generation = catalog.active_generation()
        self._known = catalog.items_of_source(source_id)  # key -> item
        self._others = catalog.contents_besides(source_id)  # key -> content hash
        self._rows = catalog.rows_of_source(self._generation, source_id)  # content hash -> (picture id, CRC)
        self._vectors = VectorMap(layout.vectors(self._generation.name), self._generation.embedding_size)
        listed = {picture.key for picture in source.pictures}
        self._vanished: defaultdict[str, list[SourceItem]] = defaultdict(list)  # content hash -> items
        for key, item in self._known.items():
            if key not in listed:
                self._vanished[item.content_hash].append(item)
        self._tally = _Tally()
        self._batch: list[_Step] = []
        self._unsealed = 0
        self._arrived = False  # a picture was read, so the source is where it is said to be

    def run(self, on_progress: OnProgress | None = None) -> SyncReport:
        """Encode what is new or changed, move what moved, remove what vanished.

        Raises SourceError, and removes nothing, where not one of the listed files can be read as a picture.
        """
        total = len(self._source.pictures)
        with IndexWriter(self._layout, self._catalog) as writer:
            for done, found in enumerate(self._pool.map(self._look_at, self._source.pictures, ahead=_AHEAD), start=1):
                if not isinstance(found, SkippedPicture):
                    self._arrive()
                self._note(found)
                if len(self._batch) >= _BATCH:
                    self._commit(writer)
                if on_progress:
                    on_progress(done, total)
            self._refuse_unreadable()
            for items in self._vanished.values():
                self._batch += [_Step(Remove(item.id), item.key) for item in items]
            while self._batch:
                self._commit(writer)
        return self._tally.report()

    def _arrive(self) -> None:
        """Before the first write: the source is being indexed, from this root; a wrong one is never recorded."""
        if not self._arrived:
            with self._catalog.writing():
                self._catalog.put_source(self._source.name, str(self._source.root), len(self._source.pictures))
            self._arrived = True

    def _look_at(self, encoder: Encoder, picture: SourcePicture) -> Put | _Seen | SkippedPicture:
        """On an encoder's thread: read the file, and encode it unless its content is known."""
        try:
            data = read_bytes(picture.path, encoder.limits)
            content_hash = hash_content(data)
            if content_hash in self._rows or picture.key in self._others:
                return _Seen(picture, content_hash)
            return self._make_put(picture, encode_picture(self._layout, encoder, data, self._relate(picture)))
        except (ImageError, VectorError) as error:
            return explain_skip(picture.key, error)

    def _relate(self, picture: SourcePicture) -> str:
        return relate_path(picture.path, self._source.root)

    def _make_put(self, picture: SourcePicture, encoded: EncodedPicture) -> Put:
        return Put(picture.key, picture.label, dict(picture.metadata), self._source_id, encoded, replace=True)

    def _note(self, found: Put | _Seen | SkippedPicture) -> None:
        """On the main thread, in the source's order: what is to be written for a picture."""
        if isinstance(found, SkippedPicture):
            self._tally.skipped.append(found)
        elif isinstance(found, Put):
            self._batch.append(_Step(found, found.key))
        elif found.picture.key in self._others:
            self._note_other(found)
        else:
            self._note_seen(found)

    def _note_other(self, seen: _Seen) -> None:
        """The key is that of an item which another source, an `add` or a client brought: it stays theirs."""
        if self._others[seen.picture.key] == seen.content_hash:
            self._tally.counts["kept"] += 1
        else:
            self._tally.skipped.append(SkippedPicture(seen.picture.key, _TAKEN))

    def _note_seen(self, seen: _Seen) -> None:
        picture = seen.picture
        item = self._known.get(picture.key)
        vanished = self._vanished[seen.content_hash]
        if item is None and vanished:
            item = vanished.pop(0)
        if item is None or item.content_hash != seen.content_hash:  # a copy, or a name that another file had
            self._note(self._reuse_row(seen))
            return
        path = self._relate(picture)
        edit = Edit(item.id, picture.key, picture.label, dict(picture.metadata), path)
        if (item.key, item.label, item.metadata, item.path) == (edit.key, edit.label, edit.metadata, edit.path):
            self._tally.counts["kept"] += 1
        else:
            self._batch.append(_Step(edit, picture.key, "moved" if item.path != path else "edited"))

    def _reuse_row(self, seen: _Seen) -> Put | SkippedPicture:
        """The vector of content that is in the index; encoded again where its row is not what was written."""
        picture = seen.picture
        row_number, crc = self._rows[seen.content_hash]
        row = self._vectors.read(np.array([row_number], dtype=np.int64))[0]
        if row_crc(row) == crc:
            model = self._generation.model_id
            return self._make_put(picture, EncodedPicture(seen.content_hash, self._relate(picture), row, model))
        try:
            with self._pool.borrow() as encoder:
                data = read_bytes(picture.path, encoder.limits)
                return self._make_put(picture, encode_picture(self._layout, encoder, data, self._relate(picture)))
        except (ImageError, VectorError) as error:
            return explain_skip(picture.key, error)

    def _refuse_unreadable(self) -> None:
        """A disk that fails, or a mount of something else: no reason to remove what the source once held."""
        skipped, total = self._tally.skipped, len(self._source.pictures)
        if self._known and not self._arrived:
            raise SourceError(
                f"not one of {total} files is a picture: nothing was removed",
                where=self._source.name,
                found=f"{skipped[0].key}: {skipped[0].reason}",
                remedy="check that the source is whole",
            )

    def _commit(self, writer: IndexWriter) -> None:
        batch, self._batch = self._batch[:_BATCH], self._batch[_BATCH:]
        for step, outcome in zip(batch, writer.apply([step.write for step in batch]), strict=True):
            if outcome is Outcome.TAKEN:  # by a write since this began; the next update finds it there
                self._tally.skipped.append(SkippedPicture(step.key, _TAKEN))
            elif outcome is not Outcome.GONE:
                self._tally.counts[step.counted or outcome.value] += 1
                self._unsealed += outcome in (Outcome.ADDED, Outcome.REPLACED, Outcome.REMOVED)
        snapshot = self._catalog.snapshot(self._catalog.active_generation())
        if self._unsealed >= max(_FIRST_SEAL, snapshot.pictures if snapshot else 0):
            seal_snapshot(self._layout, self._catalog)
            self._unsealed = 0
