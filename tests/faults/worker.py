"""Does planned operations on a real index, through the package's own calls; and can leave a sync out, to be caught.

What may change here: how an operation is done. Batches are small here, so that a kill falls between two of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import index.additions
import index.compaction
import index.creation
import index.database
import index.generations
import index.layout
import index.snapshot
import index.synchronise
import index.vectors
import index.writer
from index.additions import IndexEditor, ItemPatch
from index.backup import back_up
from index.builder import BuildPlan, build_index
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.creation import building
from index.errors import UsageError
from index.exchange import ImportPlan, import_vectors
from index.generations import EncodingPlan, roll_back
from index.layout import Layout
from index.repair import repair_index
from index.restore import restore
from index.sources import SourcePicture, read_source
from index.types import Vectors
from index.vector_files import VectorRecord, create_vector_file
from tests.faults.gallery import Gallery
from tests.faults.plans import BATCH, Held, Operation

MISSING_SYNCS = ("rows", "originals", "folders", "sqlite")
_SIZES = (  # module, constant, value: so that a small index does all that a large one does
    (index.additions, "_BATCH", BATCH),
    (index.synchronise, "_BATCH", BATCH),
    (index.generations, "_BATCH", BATCH),
    (index.synchronise, "_FIRST_SEAL", 16),
    (index.snapshot, "_FEWEST", 12),
)


@dataclass(frozen=True)
class Place:
    """Where a worker works."""

    index: Path
    source: Path  # the source folder
    loose: Path  # picture files by content number, what `add` reads

    def prepare(self, gallery: Gallery) -> None:
        """Make the folders, and the files that `add` reads."""
        self.source.mkdir(parents=True, exist_ok=True)
        self.loose.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(gallery.files):
            (self.loose / f"{number}.jpg").write_bytes(data)

    def write_source(self, gallery: Gallery, files: tuple[tuple[str, int], ...]) -> None:
        """Let the source folder hold exactly these files."""
        wanted = {self.source / name: content for name, content in files}
        for path in self.source.glob("*/*"):
            if path not in wanted:
                path.unlink()
        for path, content in wanted.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gallery.files[content])


def shrink_batches(*, alone: bool) -> None:
    """Small batches in this process; `alone`: no other process writes, so that what a kill left may go at once."""
    for module, name, value in _SIZES:
        setattr(module, name, value)
    if alone:
        setattr(index.compaction, "_GRACE", 0.0)  # noqa: B010 - a constant for everyone else


def operate(place: Place, gallery: Gallery, operation: Operation) -> int:
    """Do one; the number of the model that is active then."""
    layout = Layout(place.index)
    if operation.kind in {"build", "rebuild"}:
        active = _active_model(layout, gallery) if layout.is_index() else 0
        model = 1 - active if operation.kind == "rebuild" else active
        plan = BuildPlan(update=operation.kind == "build")
        build_index(read_source(place.source), gallery.bundles[model], place.index, plan)
        return _active_model(layout, gallery)
    if operation.kind == "repair":
        _damage_and_repair(layout)
        return _active_model(layout, gallery)
    with CatalogWriter(layout.catalog) as catalog:
        _write(place, gallery, operation, catalog)
    return _active_model(layout, gallery)


def _write(place: Place, gallery: Gallery, operation: Operation, catalog: CatalogWriter) -> None:
    layout = Layout(place.index)
    editor = IndexEditor(layout, catalog)
    match operation.kind:
        case "add":
            editor.add([_list_picture(place, held) for held in operation.items], overwrite=True)
        case "remove":
            editor.remove(operation.keys)
        case "update":
            editor.update(operation.items[0].key, _make_patch(gallery, operation))
        case "import":
            _import(layout, catalog, gallery, operation)
        case "restore":
            _restore(layout, catalog, str(operation.copy))
        case "compact":
            compact_index(layout, catalog, recipe=operation.recipe)
        case "rollback":
            _roll_back(layout, catalog)


def _active_model(layout: Layout, gallery: Gallery) -> int:
    with CatalogWriter(layout.catalog) as catalog:
        return gallery.model_of(catalog.active_generation().model_id)


def _import(layout: Layout, catalog: CatalogWriter, gallery: Gallery, operation: Operation) -> None:
    generation = catalog.active_generation()
    vectors = gallery.vectors[gallery.model_of(generation.model_id)]
    records = [
        VectorRecord(held.key, held.label, _metadata(held), gallery.hashes[held.content]) for held in operation.items
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        with create_vector_file(path, generation.model_id, generation.embedding_size) as sink:
            sink.write(records, np.stack([vectors[held.content] for held in operation.items]))
        import_vectors(layout, catalog, path, ImportPlan())


def _restore(layout: Layout, catalog: CatalogWriter, copy: str) -> None:
    """A backup beside the index, and an index from it."""
    backup = layout.folder.with_name(f"{copy}.backup")
    back_up(layout, catalog, backup)
    restore(backup, Layout(layout.folder.with_name(copy)))


def _damage_and_repair(layout: Layout) -> None:
    """Let other bytes take the place of what is derived, and have it made again. Raises AssertionError for faults left.

    The files are replaced, not changed: a searching process has some of them mapped.
    """
    for path in (*layout.folder.glob("generations/*/snapshot-*"), layout.current):
        damaged = layout.folder / "damaged"
        damaged.write_bytes(path.read_bytes()[:-1] + b"?")
        damaged.replace(path)
    left = [one for one in repair_index(layout) if one.remains]
    assert not left, f"faults that were not healed: {left[:3]}"


def _list_picture(place: Place, held: Held) -> SourcePicture:
    return SourcePicture(held.key, held.label, place.loose / f"{held.content}.jpg", _metadata(held))


def _metadata(held: Held) -> dict[str, Any]:
    return {} if held.note is None else {"note": held.note}


def _make_patch(gallery: Gallery, operation: Operation) -> ItemPatch:
    held = operation.items[0]
    image = gallery.files[held.content] if operation.image else None
    return ItemPatch(image, held.label, _metadata(held))


def _roll_back(layout: Layout, catalog: CatalogWriter) -> None:
    try:
        with building(layout):
            roll_back(layout, catalog, None, EncodingPlan())
    except UsageError:  # there is no earlier generation: nothing to do
        return


def leave_out_sync(which: str) -> None:
    """Take one sync out of the code of this process, as a mistake would. `which`: one of MISSING_SYNCS."""
    leave_out: dict[str, Callable[[], None]] = {
        "rows": _leave_out_rows,
        "originals": _leave_out_originals,
        "folders": _leave_out_folders,
        "sqlite": _leave_out_sqlite,
    }
    leave_out[which]()


def _leave_out_rows() -> None:
    write, sync = index.vectors.VectorWriter.write, os.fsync

    def write_unsynced(self: index.vectors.VectorWriter, ids: list[int], rows: Vectors) -> None:
        setattr(os, "fsync", lambda _: None)  # noqa: B010
        try:
            write(self, ids, rows)
        finally:
            setattr(os, "fsync", sync)  # noqa: B010

    setattr(index.vectors.VectorWriter, "write", write_unsynced)  # noqa: B010


def _leave_out_originals() -> None:
    setattr(index.writer, "_sync_files", lambda *_: None)  # noqa: B010


def _leave_out_folders() -> None:
    sync = index.layout.sync_path

    def sync_files(path: Path) -> None:
        if not path.is_dir():
            sync(path)

    for module in (index.layout, index.creation, index.writer):
        setattr(module, "sync_path", sync_files)  # noqa: B010


def _leave_out_sqlite() -> None:
    begin = index.database.Database.__init__

    def begin_unsynced(self: index.database.Database, path: Path, *, create: bool = False) -> None:
        begin(self, path, create=create)
        self._db.execute("PRAGMA synchronous = OFF")

    setattr(index.database.Database, "__init__", begin_unsynced)  # noqa: B010
