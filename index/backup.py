"""A whole copy of an index that may be written to meanwhile: it answers exactly as the index did at one change.

The catalogue is copied first, in one read transaction; then the files that the copy names, which `holding` and open
files keep in place meanwhile. What may change here: the order of copying. Not: the catalogue first.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from index.archive import ArchiveWriter
from index.catalog import Catalog, Generation, PictureRecord, Snapshot
from index.catalog_writer import CatalogWriter
from index.errors import IndexDataError, UsageError
from index.holding import keeping_files
from index.layout import Layout, make_folder, sync_path, write_whole
from index.vectors import VectorMap, VectorWriter, explain_damaged, find_damaged
from index.view import GenerationHold

_ATTEMPTS = 5  # at opening files that newer snapshots and generations keep replacing
_BLOCK = 16_384  # rows read at a time
_log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class BackupReport:
    """What was copied."""

    change_number: int
    items: int
    files: int
    bytes: int
    without_picture: int  # items that were imported as vectors, or whose picture is gone: there is none to copy
    damaged: tuple[str, ...]  # keys of items whose pictures in originals/ are not what was written: left out


@dataclass(frozen=True, eq=False)
class _Pinned:
    """A generation whose files stay readable, come what may."""

    generation: Generation
    hold: GenerationHold
    snapshot: Snapshot | None
    files: tuple[IO[bytes], ...]  # the snapshot's, open


def back_up(layout: Layout, catalog: Catalog, destination: Path, on_progress: OnProgress | None = None) -> BackupReport:
    """Copy an index to a new folder, whole or not at all, with the SHA-256 of every file.

    Pictures that lie in a source's folder stay there, and so does what an unfinished build of another model has
    encoded. Raises UsageError if something is at `destination`, IndexDataError for rows that are not what was written.
    """
    if destination.exists():
        raise UsageError("something is there already", where=destination, expected="a new folder")
    make_folder(destination.parent, durable=True)
    with (
        keeping_files(layout),
        tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}-") as parent,
        tempfile.TemporaryDirectory(prefix="crossmatch-") as stage,
    ):
        draft = Path(parent) / "backup"
        report = _Backup(layout, draft, Path(stage)).run(catalog, on_progress or (lambda done, total: None))
        sync_path(draft)
        draft.rename(destination)
    sync_path(destination.parent)
    return report


class _Backup:
    """One backup under way."""

    def __init__(self, layout: Layout, folder: Path, stage: Path) -> None:
        """`stage`: where SQLite works on the copied catalogue, since `folder` may be on a network file system."""
        self._layout = layout
        self._archive = ArchiveWriter(folder)
        self._copy = Layout(self._archive.content)
        self._stage = Layout(stage)

    def run(self, catalog: Catalog, on_progress: OnProgress) -> BackupReport:
        """Catalogue, snapshots, rows, models, pictures."""
        with ExitStack() as stack:
            pinned = self._copy_catalog(catalog, stack)
            with CatalogWriter(self._stage.catalog) as copy:
                for draft in copy.drafts():
                    with copy.writing():
                        copy.delete_generation(draft)
                for one in pinned:
                    self._copy_snapshot(copy, one)
                    self._copy_rows(copy, one.generation)
                number, items, pictures = copy.change_number(), copy.count_items(), copy.all_pictures()
                copy.fold_log()
            self._archive.copy(self._stage.catalog.name, self._stage.catalog)
            for one in pinned:
                self._copy_model(one.generation)
            damaged, lacking = self._copy_pictures(pictures, on_progress)
            write_whole(self._copy.current, f"{pinned[0].generation.name}\n".encode())
            self._archive.note(self._copy.current.name)
        files = self._archive.finish(number).files
        size = sum(file.bytes for file in files.values())
        return BackupReport(number, items, len(files), size, lacking, damaged)

    def _copy_catalog(self, catalog: Catalog, stack: ExitStack) -> list[_Pinned]:
        """Copy the catalogue, and pin what the copy names; again where that has been replaced in between."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._stage.catalog.unlink(missing_ok=True)
            catalog.copy_to(self._stage.catalog)
            with Catalog(self._stage.catalog) as copy, contextlib.suppress(FileNotFoundError):
                return [self._pin(copy, one, stack, attempt < _ATTEMPTS) for one in copy.generations()]
        raise IndexDataError("the index's files keep vanishing", where=self._layout.folder, remedy="try again")

    def _pin(self, copy: Catalog, generation: Generation, stack: ExitStack, must_exist: bool) -> _Pinned:
        folder = self._layout.generation(generation.name)
        pinned = _Pinned(generation, GenerationHold(folder / "manifest.json"), copy.snapshot(generation), ())
        if pinned.snapshot is None:
            return pinned
        try:
            names = (pinned.snapshot.file, pinned.snapshot.entries_file)
            return replace(pinned, files=tuple(stack.enter_context((folder / name).open("rb")) for name in names))
        except FileNotFoundError:
            if must_exist:
                raise
            return pinned

    def _copy_snapshot(self, copy: CatalogWriter, one: _Pinned) -> None:
        """Copy a sealed snapshot; one that is not what was sealed is left out, being derived."""
        snapshot = one.snapshot
        if snapshot is None:
            return
        folder = f"generations/{one.generation.name}"
        names = (f"{folder}/{snapshot.file}", f"{folder}/{snapshot.entries_file}")
        found = [self._archive.copy_open(name, file) for name, file in zip(names, one.files, strict=False)]
        if [file.digest for file in found] == [snapshot.digest, snapshot.entries_digest]:
            return
        _log.warning("%s: the snapshot is missing or damaged: left out of the backup", names[0])
        for name in names[: len(found)]:
            self._archive.drop(name)
        with copy.writing():
            copy.delete_snapshot(one.generation)

    def _copy_rows(self, copy: Catalog, generation: Generation) -> None:
        """The rows that the copied catalogue counts, at their places; what lives no more is not copied."""
        size = generation.embedding_size
        pictures, crcs = copy.vector_crcs(generation)
        rows = VectorMap(self._layout.vectors(generation.name), size)
        target = self._copy.vectors(generation.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        writer = VectorWriter(target, size)
        try:
            for start in range(0, len(pictures), _BLOCK):
                block = pictures[start : start + _BLOCK]
                vectors = rows.read(block)
                damaged = block[find_damaged(vectors, crcs[start : start + _BLOCK])]
                if len(damaged):
                    raise explain_damaged(self._layout.vectors(generation.name), damaged)
                writer.write(block.tolist(), vectors)
        finally:
            writer.close()
        self._archive.note(f"generations/{generation.name}/{target.name}")

    def _copy_model(self, generation: Generation) -> None:
        folder = self._layout.generation(generation.name)
        for path in (folder / "manifest.json", *sorted(self._layout.model(generation.name).rglob("*"))):
            if path.is_file():
                self._archive.copy(path.relative_to(self._layout.folder).as_posix(), path)

    def _copy_pictures(self, pictures: list[PictureRecord], on_progress: OnProgress) -> tuple[tuple[str, ...], int]:
        """Originals and thumbnails, each content once; keys of damaged originals, and how many are not there."""
        damaged: dict[str, str] = {}  # key -> the file's name
        lacking = 0
        for done, record in enumerate(pictures, start=1):
            self._copy_if_there(self._layout.thumbnail(record.content_hash))
            if record.path is None:
                digest = self._copy_if_there(self._layout.original(record.content_hash))
                lacking += digest is None
                if digest not in (None, record.content_hash):
                    damaged[record.key] = self._relate(self._layout.original(record.content_hash))
            on_progress(done, len(pictures))
        for name in set(damaged.values()):
            self._archive.drop(name)
        return tuple(damaged), lacking

    def _copy_if_there(self, path: Path) -> str | None:
        """The SHA-256 of a file that is copied now, or was already; None where there is none."""
        name = self._relate(path)
        if name in self._archive.files:
            return self._archive.files[name].digest
        try:
            return self._archive.copy(name, path).digest
        except FileNotFoundError:
            return None

    def _relate(self, path: Path) -> str:
        return path.relative_to(self._layout.folder).as_posix()
