"""Housekeeping: seal what is unsealed, trim the log, and give back the room of what lives no more.

Everything here may be interrupted anywhere, and done again. What may change here: what is cleared away. Not: that a
file which a snapshot, a generation or a live item needs stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.catalog import Generation, Snapshot
from index.catalog_writer import CatalogWriter
from index.errors import UsageError
from index.generations import clear_old_generations
from index.holding import clearing
from index.layout import Layout
from index.recipes import parse_recipe
from index.snapshot import seal_snapshot

_GRACE = 3600.0  # seconds in which a file may belong to a write that is still under way
_UNLINKED = 1024  # files a transaction
_PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


@dataclass(frozen=True)
class CompactionReport:
    """What a compaction left."""

    pictures: int  # in the snapshot
    recall: float | None
    freed: int  # bytes on disk
    cleared: tuple[str, ...]  # names of generations

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "cleared": list(self.cleared)}


def compact_index(
    layout: Layout, catalog: CatalogWriter, *, recipe: str | None = None, keep: int = 1
) -> CompactionReport:
    """Seal, trim and clear; `recipe`: for this and later snapshots. Raises UsageError or IndexDataError."""
    before = _measure_room(layout.folder)
    with clearing(layout) as alone:
        if alone:  # else a backup still copies what is to go: next time
            punch_holes(layout, catalog)
            clear_orphans(layout, catalog)
    with catalog.writing():
        catalog.trim_log()  # before the next seal, so that readers which know the last one need not load anew
    snapshot = _seal_with(layout, catalog, recipe)
    cleared = clear_old_generations(layout, catalog, keep)
    catalog.fold_log()
    freed = max(0, before - _measure_room(layout.folder))
    return CompactionReport(
        snapshot.pictures if snapshot else 0, snapshot.recall if snapshot else None, freed, tuple(cleared)
    )


def _seal_with(layout: Layout, catalog: CatalogWriter, recipe: str | None) -> Snapshot | None:
    """Seal with another recipe, which stays the generation's only if it fits the vectors."""
    generation = catalog.active_generation()
    if recipe is None:
        return seal_snapshot(layout, catalog)
    name = parse_recipe(recipe).name
    with catalog.writing():
        catalog.set_recipe(generation, name)
    try:
        return seal_snapshot(layout, catalog)
    except UsageError:
        with catalog.writing():
            catalog.set_recipe(generation, generation.recipe)
        raise


def punch_holes(layout: Layout, catalog: CatalogWriter) -> None:
    """Give back the room of rows that live no more, in every generation.

    Only of pictures that lived no more when the newest snapshot was sealed: a search that began before they went may
    still read the others. So it comes before the next snapshot, and before the log of what was removed is trimmed.
    """
    with catalog.reading():
        snapshot = catalog.snapshot(catalog.active_generation())
        if snapshot is None:
            return
        living = np.array([record.id for record in catalog.all_pictures()], dtype=np.int64)
        spared = catalog.removed_after(snapshot.change_number)
        generations = catalog.generations()
    for generation in generations:
        _punch(layout.vectors(generation.name), generation, np.union1d(living, spared))


def _punch(path: Path, generation: Generation, needed: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    size = 4 * generation.embedding_size
    if not len(needed):
        return
    bounds = np.concatenate([[0], needed])  # row 0 is never used, and rows beyond the last may be being written
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:  # another process has cleared the generation away
        return
    try:
        for left, right in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            if right - left > 1:
                _fallocate(descriptor, (left + 1) * size, (right - left - 1) * size)
    finally:
        os.close(descriptor)


def _fallocate(descriptor: int, offset: int, length: int) -> None:
    """Best effort: a file system without holes keeps its room."""
    library = ctypes.CDLL(None, use_errno=True)
    library.fallocate(descriptor, _PUNCH_HOLE, ctypes.c_int64(offset), ctypes.c_int64(length))


def clear_orphans(layout: Layout, catalog: CatalogWriter) -> None:
    """Remove drafts that killed writers left, and originals, thumbnails, snapshots and generations that nothing needs.

    Inside write transactions, short ones: whoever has put a file there and not yet committed sees in its own that it
    is gone. What is looked at is listed before, so that no writer waits for a large folder.
    """
    orphans = _list_orphans(layout, catalog)
    for start in range(0, len(orphans), _UNLINKED):
        some = orphans[start : start + _UNLINKED]
        with catalog.writing():
            needed = catalog.living_contents(map(_content_of, some))
            for path in some:
                if _content_of(path) not in needed and _is_old(path):
                    path.unlink(missing_ok=True)
    _clear_generations(layout, catalog)


def _list_orphans(layout: Layout, catalog: CatalogWriter) -> list[Path]:
    """Files that no item needs now; by the time they are to go, one may."""
    with catalog.reading():
        needed = {record.content_hash for record in catalog.all_pictures()}
    folders = (layout.originals, layout.folder / "thumbnails")
    files = (path for folder in folders for path in folder.glob("*/*"))
    return [path for path in files if _content_of(path) not in needed and _is_old(path)]


def _content_of(path: Path) -> str:
    """The content hash that a file is named after; of a draft, nothing that an item has."""
    return path.name.split(".")[0]


def _clear_generations(layout: Layout, catalog: CatalogWriter) -> None:
    with catalog.writing():
        generations = [*catalog.generations(), *catalog.drafts()]
        names = {generation.name for generation in generations}
        for folder in (layout.folder / "generations").iterdir():
            if folder.name not in names and _is_old(folder):  # clearing it away was interrupted
                shutil.rmtree(folder, ignore_errors=True)
        for generation in generations:
            snapshot = catalog.snapshot(generation)
            kept = {snapshot.file, snapshot.entries_file} if snapshot else set()
            for path in layout.generation(generation.name).glob("*snapshot-*"):
                if path.name not in kept and _is_old(path):
                    path.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _GRACE
    except FileNotFoundError:
        return False


def _measure_room(folder: Path) -> int:
    """Bytes that a folder takes on disk; what others clear away meanwhile counts or does not."""
    blocks = 0
    for current, _, names in os.walk(folder):  # unlike `rglob`, it passes over folders that vanish
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                blocks += (Path(current) / name).lstat().st_blocks
    return 512 * blocks
