"""A backup -> an index folder: every digest is checked before anything is written.

What may change here: what is checked besides. Not: that the index appears whole or not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from index.archive import CONTENT, Archive, check_file, copy_bytes, read_archive
from index.catalog import Catalog
from index.creation import move_into_place, refuse_occupied
from index.layout import Layout, make_folder, refuse_network_folder, sync_path

OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class RestoreReport:
    """What came back."""

    change_number: int
    created: str  # when the backup was made
    items: int
    files: int


def restore(backup: Path, layout: Layout, on_progress: OnProgress | None = None) -> RestoreReport:
    """Make an index from a backup, in a new or empty folder.

    Raises UsageError if `backup` is none or something is in the way, IndexDataError for a file that is not what was
    backed up, by name.
    """
    refuse_occupied(layout.folder)
    archive = read_archive(backup)
    on_progress = on_progress or (lambda done, total: None)
    steps = 2 * len(archive.files)
    for done, (name, file) in enumerate(archive.files.items(), start=1):
        check_file(backup / CONTENT / name, file)
        on_progress(done, steps)
    parent = layout.folder.parent
    make_folder(parent, durable=True)
    refuse_network_folder(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{layout.folder.name}-") as room:
        draft = Layout(Path(room) / "index")
        _copy_files(backup / CONTENT, archive, draft, lambda done: on_progress(len(archive.files) + done, steps))
        with Catalog(draft.catalog) as catalog:  # refuses a format that this program does not read
            items = catalog.count_items()
        for path in (draft.folder, *draft.folder.rglob("*")):
            if path.is_dir():
                sync_path(path)
        move_into_place(draft.folder, layout.folder)
    sync_path(parent)
    return RestoreReport(archive.change_number, archive.created, items, len(archive.files))


def _copy_files(content: Path, archive: Archive, draft: Layout, on_progress: Callable[[int], None]) -> None:
    for done, (name, file) in enumerate(archive.files.items(), start=1):
        target = draft.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with (content / name).open("rb") as source:
            check_file(content / name, file, copy_bytes(source, target))
        on_progress(done)
