"""Writes of single pictures and of sources that are not kept in step with: `add`, `update`, `remove`.

The picture is copied into originals/ and its vector computed before the transaction; when a call returns, the write
is durable and every search sees it. The command line and the service both call these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any, TypeVar

from index.bundle import read_bundle
from index.catalog_writer import CatalogWriter
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.encoding import SkippedPicture, encode_picture, explain_skip
from index.errors import (
    CrossmatchError,
    GenerationChangedError,
    ImageError,
    ItemChangedError,
    ItemNotFoundError,
    KeyTakenError,
    OriginalClearedError,
    UsageError,
    VectorError,
)
from index.images import read_bytes
from index.item_changes import ItemChange, NewItem, check_metadata
from index.layout import Layout
from index.snapshot import seal_when_due
from index.sources import SourcePicture
from index.types import Item
from index.writer import Edit, EncodedPicture, IndexWriter, Outcome, Put, Remove

_BATCH = 128  # pictures a transaction
_AHEAD = 64  # pictures for each thread that are encoded while a transaction is written
_ATTEMPTS = 5  # at a write that others keep overtaking
_HOW = ("say replace=true to replace it", "change it in its source")  # what to do about a key that is taken
OVERTAKEN = (GenerationChangedError, OriginalClearedError)  # what was prepared for a write is no longer good for it

Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class AddReport:
    """What came of adding pictures, in items."""

    added: int = 0
    replaced: int = 0
    kept: int = 0  # the same content was there under the key already
    skipped: tuple[SkippedPicture, ...] = ()


@dataclass(frozen=True)
class ItemPatch:
    """What to change about an item; `...` leaves a field as it is."""

    image: bytes | None = None
    label: str | EllipsisType | None = ...
    metadata: dict[str, Any] | EllipsisType = field(default=...)


class _Tally:
    """What has come of an addition so far."""

    def __init__(self, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._counts: Counter[str] = Counter()
        self._skipped: list[SkippedPicture] = []

    def count(self, batch: Sequence[Put | SkippedPicture], outcomes: Sequence[Outcome]) -> None:
        """`outcomes`: of the puts in the batch, in order."""
        following = iter(outcomes)
        for one in batch:
            if isinstance(one, SkippedPicture):
                self._skipped.append(one)
            elif (outcome := next(following)) is Outcome.TAKEN:
                self._skipped.append(SkippedPicture(one.key, _explain_taken(self._overwrite)))
            else:
                self._counts[outcome.value] += 1

    def report(self) -> AddReport:
        counts = self._counts
        return AddReport(counts["added"], counts["replaced"], counts["kept"], tuple(self._skipped))


class IndexEditor:
    """Adds, updates and removes items of one index; used by one thread at a time."""

    def __init__(
        self,
        layout: Layout,
        catalog: CatalogWriter,
        threads: int | None = None,
        encoders: Callable[[], EncoderPool] | None = None,
    ) -> None:
        """`encoders`: gives those of the active generation's model; without it, `threads` of them are opened."""
        self._layout, self._catalog, self._threads = layout, catalog, threads
        self._encoders = encoders or self._open_encoders
        self._pool: EncoderPool | None = None

    def _open_encoders(self) -> EncoderPool:
        generation = self._catalog.active_generation()
        if self._pool is None or self._pool.bundle.manifest.model_id != generation.model_id:
            self._pool = EncoderPool(read_bundle(self._layout.model(generation.name)), self._threads)
        return self._pool

    def add(
        self, pictures: Sequence[SourcePicture], *, overwrite: bool = False, on_progress: OnProgress | None = None
    ) -> AddReport:
        """Add pictures, a batch a transaction. A key that is there with other content is skipped, or overwritten."""
        tally = _Tally(overwrite)
        done = failures = 0
        with IndexWriter(self._layout, self._catalog) as writer:
            while done < len(pictures):
                try:
                    for batch in self._encode_batches(pictures[done:], overwrite):
                        tally.count(batch, writer.apply([one for one in batch if isinstance(one, Put)]))
                        done, failures = done + len(batch), 0
                        if on_progress:
                            on_progress(done, len(pictures))
                except OVERTAKEN:  # another model answers now, say: the rest is encoded by that one
                    failures += 1
                    if failures == _ATTEMPTS:
                        raise
        seal_when_due(self._layout, self._catalog)
        return tally.report()

    def _encode_batches(
        self, pictures: Sequence[SourcePicture], overwrite: bool
    ) -> Iterator[list[Put | SkippedPicture]]:
        """What is to be written for each picture, a transaction's worth at a time; encoders go on meanwhile."""

        def encode(encoder: Encoder, picture: SourcePicture) -> Put | SkippedPicture:
            try:
                encoded = encode_picture(self._layout, encoder, read_bytes(picture.path, encoder.limits), None)
            except (ImageError, VectorError) as error:
                return explain_skip(picture.key, error)
            return Put(picture.key, picture.label, dict(picture.metadata), None, encoded, overwrite)

        batch: list[Put | SkippedPicture] = []
        for found in self._encoders().map(encode, pictures, ahead=_AHEAD):
            batch.append(found)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def add_bytes(self, picture: SourcePicture, data: bytes, *, overwrite: bool = False) -> Outcome:
        """Add one picture from its bytes; the picture's `path` is not looked at. Raises ImageError or VectorError."""

        def attempt() -> Outcome:
            with self._encoders().borrow() as encoder, IndexWriter(self._layout, self._catalog) as writer:
                encoded = encode_picture(self._layout, encoder, data, None)
                put = Put(picture.key, picture.label, dict(picture.metadata), None, encoded, overwrite)
                return writer.apply([put])[0]

        return _until_written(attempt)

    def update(self, key: str, patch: ItemPatch) -> Item:
        """Give an item another picture, label or metadata. Raises ItemNotFoundError, ImageError or VectorError."""

        def attempt() -> Item:
            encoded = None
            if patch.image is not None:
                self._find(key)
                with self._encoders().borrow() as encoder:
                    encoded = encode_picture(self._layout, encoder, patch.image, None)
            with IndexWriter(self._layout, self._catalog) as writer:
                while self._patch(writer, self._find(key), patch, encoded) is Outcome.STALE:
                    continue  # another process wrote to the item meanwhile: what it wrote stays
            return self._find(key)

        return _until_written(attempt)

    def _patch(self, writer: IndexWriter, item: Item, patch: ItemPatch, picture: EncodedPicture | None) -> Outcome:
        """One try, from the item as it was read; `STALE` if it has changed since then."""
        label = item.label if isinstance(patch.label, EllipsisType) else patch.label
        metadata = item.metadata if isinstance(patch.metadata, EllipsisType) else patch.metadata
        outcome = Outcome.KEPT
        if picture is not None:
            owner = self._catalog.find_owner(item.key)
            source = owner.source_id if owner else None
            put = Put(item.key, label, metadata, source, picture, replace=True, must_exist=True)
            (outcome,) = writer.apply([replace(put, item=item.id, version=item.version)])
        if outcome is Outcome.KEPT and (label, metadata) != (item.label, item.metadata):
            (outcome,) = writer.apply([Edit(item.id, item.key, label, metadata, version=item.version)])
        return outcome

    def put(self, new: NewItem, picture: EncodedPicture) -> tuple[Outcome, Item]:
        """Add an item, or make the one that has its key as it is: ADDED, REPLACED or KEPT, and the item.

        Raises KeyTakenError for other content without `replace`, or under a key that a source brought;
        GenerationChangedError or OriginalClearedError where the picture has to be encoded again.
        """
        label, metadata = new.fields
        with IndexWriter(self._layout, self._catalog) as writer:
            while True:
                (outcome,) = writer.apply([Put(new.key, label, metadata, None, picture, new.replace)])
                item = self._catalog.find_item(new.key)
                if item is None:
                    continue  # removed again by another process
                if outcome is Outcome.KEPT and not new.agrees_with(item.label, item.metadata):
                    outcome = Outcome.TAKEN
                    if new.replace:
                        (outcome,) = writer.apply([Edit(item.id, new.key, label, metadata, version=item.version)])
                if outcome is Outcome.TAKEN:
                    raise KeyTakenError(
                        _explain_taken(new.replace).partition(":")[0], found=repr(new.key), remedy=_HOW[new.replace]
                    )
                if outcome in (Outcome.STALE, Outcome.GONE):
                    continue
                if outcome is Outcome.EDITED:
                    return Outcome.REPLACED, self._find(new.key)
                return outcome, item

    def change(self, id_: int, change: ItemChange, versions: frozenset[int] | None = None) -> Item:
        """Other fields for an item that is at one of the `versions`, or at any.

        Raises ItemNotFoundError, ItemChangedError, KeyTakenError, and UsageError for another key of an item that a
        source brought.
        """
        with IndexWriter(self._layout, self._catalog) as writer:
            while True:
                item = self._check_version(id_, versions)
                key, label, metadata = change.apply(item.key, item.label, item.metadata)
                check_metadata(metadata)
                if (key, label, metadata) == (item.key, item.label, item.metadata):
                    return item
                self._check_key(item, key)
                (outcome,) = writer.apply([Edit(id_, key, label, metadata, version=item.version)])
                if outcome is Outcome.TAKEN:
                    raise KeyTakenError("the key is another item's", found=repr(key))
                if outcome is Outcome.EDITED:
                    return replace(item, key=key, label=label, metadata=metadata, version=item.version + 1)

    def drop(self, id_: int, versions: frozenset[int] | None = None) -> None:
        """Remove an item that is at one of the `versions`, or at any. Raises ItemNotFoundError or ItemChangedError."""
        with IndexWriter(self._layout, self._catalog) as writer:
            while True:
                item = self._check_version(id_, versions)
                if writer.apply([Remove(id_, item.version)]) == [Outcome.REMOVED]:
                    return

    def _check_version(self, id_: int, versions: frozenset[int] | None) -> Item:
        item = self._catalog.item(id_)
        if versions is not None and item.version not in versions:
            raise ItemChangedError(
                "the item has changed",
                expected=" or ".join(f"version {each}" for each in sorted(versions)) or "another version",
                found=f"version {item.version}",
                remedy="read it again, and decide again",
            )
        return item

    def _check_key(self, item: Item, key: str) -> None:
        owner = self._catalog.find_owner(item.key)
        if key != item.key and owner is not None and owner.source_id is not None:
            raise UsageError("a source brought the item, and gives it its key", found=repr(item.key))

    def remove(self, keys: Sequence[str]) -> None:
        """Remove items, all of them or none. Raises ItemNotFoundError with the first key that is not there."""
        items = [self._find(key) for key in dict.fromkeys(keys)]
        with IndexWriter(self._layout, self._catalog) as writer:
            writer.apply([Remove(item.id) for item in items])
        seal_when_due(self._layout, self._catalog)

    def _find(self, key: str) -> Item:
        item = self._catalog.find_item(key)
        if item is None:
            raise ItemNotFoundError(
                "no such item", where=self._layout.folder, expected="the key of an item", found=repr(key)
            )
        return item


def _explain_taken(overwrite: bool) -> str:
    if overwrite:
        return "the key belongs to an item that a source brought: change it there, or use `index update`"
    return "the key is there with other content: say --replace to replace it"


def _until_written(attempt: Callable[[], Result]) -> Result:
    """Encode and write again while others overtake it: another model answers, or the picture's copy is cleared away."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except OVERTAKEN:
            continue
    try:
        return attempt()
    except OVERTAKEN as error:
        raise CrossmatchError("the index changed again and again while a picture was encoded", found=error) from error
