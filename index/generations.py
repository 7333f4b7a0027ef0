"""Another model's generation beside the active one: encoded, checked, and swapped in one transaction.

A swap proves, in the transaction that makes it, that no picture was written that the new generation lacks; the last
few that were are encoded in that transaction. Writers and searches go on until then. Killed anywhere, the old or the
new generation is whole, and the same call goes on.
What may change here: what is checked before a swap. Not: that proof.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from index.announcement import announcing
from index.bundle import Bundle, read_bundle
from index.catalog import Generation, PictureRecord
from index.catalog_writer import CatalogWriter
from index.creation import make_generation_folder, name_generation
from index.encoder import Encoder, verify_golden
from index.encoder_pool import EncoderPool
from index.errors import ImageError, OriginalMissingError, UsageError
from index.images import ImageLimits
from index.layout import Layout, write_whole
from index.originals import locate_original, read_original
from index.relocation import Relocation
from index.snapshot import find_damaged_pictures, seal_snapshot
from index.types import Vectors
from index.vectors import explain_damaged
from index.view import GenerationHold
from index.writer import IndexWriter

_BATCH = 128  # pictures a transaction
_LAST, _MOST = 32, 1024  # pictures that may be encoded while writers wait: at first, and after many rounds
_SHOWN = 5  # missing originals that an error names

OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class EncodingPlan:
    """How a generation is encoded."""

    threads: int | None = None
    limits: ImageLimits = field(default_factory=ImageLimits)
    drop_missing: bool = False  # items whose original is gone are removed, instead of ending it
    relocation: Relocation | None = None  # where a source's originals are read from; recorded with the swap


@dataclass(frozen=True)
class SwapReport:
    """What became of a generation."""

    generation: str
    encoded: int  # pictures
    dropped: tuple[str, ...]  # keys of items that were removed, since their originals are gone


def build_generation(
    layout: Layout,
    catalog: CatalogWriter,
    bundle: Bundle,
    recipe: str,
    plan: EncodingPlan,
    on_progress: OnProgress | None = None,
) -> SwapReport:
    """Encode every item with another model, and swap; or go on with such a build that was interrupted.

    Raises OriginalMissingError with the items whose pictures are gone, unless they are to be dropped.
    """
    draft = _open_draft(layout, catalog, bundle, recipe)
    return activate(layout, catalog, draft, plan, on_progress)


def _open_draft(layout: Layout, catalog: CatalogWriter, bundle: Bundle, recipe: str) -> Generation:
    """The interrupted draft of this model, or a new one; drafts of other models are cleared away."""
    found = None
    for draft in catalog.drafts():
        if draft.model_id == bundle.manifest.model_id and draft.recipe == recipe and _is_whole(layout, draft):
            found = draft
        else:
            clear_generation(layout, catalog, draft)
    if found is not None:
        return found
    manifest = bundle.manifest
    with catalog.reading():
        name = name_generation(catalog.count_generations_ever() + 1, manifest.model_id)
    make_generation_folder(layout, name, bundle)
    with catalog.writing():
        return catalog.insert_generation(name, manifest.model_id, manifest.embedding_size, recipe)


def _is_whole(layout: Layout, draft: Generation) -> bool:
    return (layout.generation(draft.name) / "manifest.json").is_file()


def roll_back(
    layout: Layout, catalog: CatalogWriter, name: str | None, plan: EncodingPlan, on_progress: OnProgress | None = None
) -> SwapReport:
    """Answer from an earlier generation again: the one `name`d, or the last before this one.

    What that generation lacks is encoded with its model; later writes and deletions stay. Raises UsageError.
    """
    active, *others = catalog.generations()
    wanted = next((one for one in others if name in (None, one.name)), None)
    if wanted is None:
        raise UsageError(
            "there is no such generation to go back to",
            where=layout.folder,
            expected=", ".join(one.name for one in others) or "an earlier generation",
            found=name or f"only {active.name}",
        )
    return activate(layout, catalog, wanted, plan, on_progress)


def activate(
    layout: Layout,
    catalog: CatalogWriter,
    generation: Generation,
    plan: EncodingPlan,
    on_progress: OnProgress | None = None,
) -> SwapReport:
    """Encode what a generation lacks, check it, seal it, and swap to it."""
    pool = EncoderPool(read_bundle(layout.model(generation.name)), plan.threads, plan.limits)
    hold = GenerationHold(layout.generation(generation.name) / "manifest.json")  # a compaction may run beside
    with pool.borrow() as encoder:
        verify_golden(encoder)
    dropped: list[str] = []
    with announcing(layout, generation.name), IndexWriter(layout, catalog) as writer:
        catching = _CatchingUp(layout, catalog, writer, pool, generation, plan)
        for attempt in count():
            if missing := catching.list_missing():
                dropped += _drop(catalog, catching.encode(missing, on_progress), plan)
            if catalog.snapshot(generation) is None:
                seal_snapshot(layout, catalog, generation)
            if not attempt:
                check_rows(layout, catalog, generation)
            if catching.swap(most=min(_LAST << attempt, _MOST)):
                break
    write_whole(layout.current, f"{generation.name}\n".encode())
    del hold
    return SwapReport(generation.name, catching.encoded, tuple(dropped))


@dataclass
class _CatchingUp:
    """A generation that comes to hold what was written meanwhile; however steadily others write, it gets there."""

    layout: Layout
    catalog: CatalogWriter
    writer: IndexWriter
    pool: EncoderPool
    generation: Generation
    plan: EncodingPlan
    encoded: int = 0  # pictures

    def list_missing(self) -> Sequence[PictureRecord]:
        """Live pictures without a row, where their originals lie now."""
        missing = self.catalog.pictures_without_vector(self.generation)
        return self.plan.relocation.apply(missing) if self.plan.relocation else missing

    def encode(self, missing: Sequence[PictureRecord], on_progress: OnProgress | None) -> list[PictureRecord]:
        """Encode pictures from their originals, in durable batches; those whose originals are gone."""
        gone: list[PictureRecord] = []
        batch: list[tuple[int, Vectors]] = []
        for done, (record, vector) in enumerate(self._encode(missing), start=1):
            if vector is None:
                gone.append(record)
            else:
                batch.append((record.id, vector))
            if len(batch) >= _BATCH or (batch and done == len(missing)):
                with self.catalog.writing():
                    self._put(batch)
                batch = []
            if on_progress:
                on_progress(done, len(missing))
        return gone

    def swap(self, most: int) -> bool:
        """One transaction: what is still missing is encoded while writers wait, and the generation answers.

        False if more than `most` pictures are missing, or an original is: then nothing is done.
        """
        with self.catalog.writing():
            missing = self.list_missing()
            if len(missing) > most:
                return False
            found = [(record.id, vector) for record, vector in self._encode(missing) if vector is not None]
            if len(found) < len(missing):
                return False
            self._put(found)
            self.catalog.activate_generation(self.generation)
            if self.plan.relocation is not None:
                self.plan.relocation.record(self.catalog)
        return True

    def _put(self, batch: list[tuple[int, Vectors]]) -> None:
        """Write rows, inside a transaction; those of pictures that were removed meanwhile are left out."""
        if batch:
            self.writer.write_rows(self.generation, [id_ for id_, _ in batch], np.stack([row for _, row in batch]))
            self.encoded += len(batch)

    def _encode(self, records: Sequence[PictureRecord]) -> Iterator[tuple[PictureRecord, Vectors | None]]:
        return self.pool.map(self._encode_original, records)

    def _encode_original(self, encoder: Encoder, record: PictureRecord) -> tuple[PictureRecord, Vectors | None]:
        try:
            original = read_original(self.layout, record, encoder.limits)
            return record, encoder.encode_bytes(original.data)
        except OriginalMissingError as error:
            if isinstance(error.__cause__, ImageError) and locate_original(self.layout, record).exists():
                raise  # it is there and can not be read: a failing disk is no reason to remove an item
            return record, None


def _drop(catalog: CatalogWriter, gone: Sequence[PictureRecord], plan: EncodingPlan) -> list[str]:
    """Remove the items whose originals are gone, if that was asked for; otherwise that ends it."""
    with catalog.writing():
        still = [record for record in gone if catalog.has_picture(record.id)]
        if still and not plan.drop_missing:
            names = ", ".join(record.key for record in still[:_SHOWN])
            raise OriginalMissingError(
                f"{len(still)} items can not be encoded again",
                where=catalog.path.parent,
                expected="the pictures that were indexed",
                found=f"missing or changed: {names}{', ...' if len(still) > _SHOWN else ''}",
                remedy="bring them back, or say --drop-missing to remove these items",
            )
        _refuse_unmounted(still)
        for record in still:
            catalog.delete_item(record.item_id)
    return [record.key for record in still]


def _refuse_unmounted(gone: Sequence[PictureRecord]) -> None:
    """Raises OriginalMissingError where a whole source is not there: it is not mounted, rather than emptied."""
    for root in sorted({record.root for record in gone if record.root is not None}):
        folder = Path(root)
        if not folder.is_dir() or not any(folder.iterdir()):
            raise OriginalMissingError(
                "the source of these pictures is missing or empty",
                where=root,
                expected="the folder that was indexed",
                found="an empty folder" if folder.is_dir() else "no such folder",
                remedy="mount it, or say --images-root; to be rid of its items, remove them by their keys",
            )


def check_rows(layout: Layout, catalog: CatalogWriter, generation: Generation) -> None:
    """Raises IndexDataError if a generation's rows are not what was written."""
    damaged = find_damaged_pictures(layout, catalog, generation)
    if len(damaged):
        raise explain_damaged(layout.vectors(generation.name), damaged)


def clear_old_generations(layout: Layout, catalog: CatalogWriter, keep: int) -> list[str]:
    """Clear away all but the active and the `keep` newest others; one that a process still uses stays for now."""
    _, *others = catalog.generations()
    return [one.name for one in others[keep:] if clear_generation(layout, catalog, one)]


def clear_generation(layout: Layout, catalog: CatalogWriter, generation: Generation) -> bool:
    """Remove a generation that is not active, unless a process still uses it."""
    folder = layout.generation(generation.name)
    try:
        with (folder / "manifest.json").open("rb") as manifest:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _delete(catalog, generation, folder)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return _delete(catalog, generation, folder)


def _delete(catalog: CatalogWriter, generation: Generation, folder: object) -> bool:
    with catalog.writing():
        if catalog.active_generation().id == generation.id:  # another process went back to it meanwhile
            return False
        catalog.delete_generation(generation)
    shutil.rmtree(str(folder), ignore_errors=True)
    return True
