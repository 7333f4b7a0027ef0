"""A new, empty index folder; and the lock that lets one process build at a time.

What may change here: what a new folder holds. Not: that it appears whole or not at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index.bundle import Bundle, read_bundle
from index.catalog_writer import CatalogWriter
from index.errors import IndexBusyError
from index.layout import Layout, describe_occupied, make_folder, refuse_network_folder, sync_path, write_whole
from index.manifest import MANIFEST_NAME, canonical_json, file_digest

FORMAT_VERSION = 1
_LOCK_ATTEMPTS = 5
_LOCK_PAUSE = 0.05  # seconds


def create_index(layout: Layout, bundle: Bundle, recipe: str = "flat") -> None:
    """Make an empty index for a model; it appears whole or not at all.

    Raises UsageError if something is in the way, IndexDataError on a network file system.
    """
    folder = layout.folder
    refuse_occupied(folder)
    make_folder(folder.parent, durable=True)
    refuse_network_folder(folder.parent)
    manifest = bundle.manifest
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as parent:
        draft = Layout(Path(parent) / "index")
        draft.originals.mkdir(parents=True)  # now, so that no later write has to make its name durable
        with CatalogWriter(draft.catalog, create=True) as catalog, catalog.writing():
            name = name_generation(1, manifest.model_id)
            generation = catalog.insert_generation(name, manifest.model_id, manifest.embedding_size, recipe)
            catalog.activate_generation(generation)
        make_generation_folder(draft, name, bundle)
        write_whole(draft.current, f"{name}\n".encode())
        for path in (*draft.folder.rglob("*"), draft.folder):
            sync_path(path)
        move_into_place(draft.folder, folder)
    sync_path(folder.parent)


def refuse_occupied(folder: Path) -> None:
    """Raises UsageError if something is where an index should go."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "something else is where the index should go"
        raise describe_occupied(folder, what, "a new or empty folder", "--index")


def name_generation(number: int, model_id: str) -> str:
    """The name of the `number`-th generation."""
    return f"{number:04d}-{model_id[:8]}"


def make_generation_folder(layout: Layout, name: str, bundle: Bundle) -> None:
    """The folder of a generation without rows; what an interrupted attempt left there is replaced."""
    folder = layout.generation(name)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    shutil.copytree(bundle.folder, layout.model(name))
    read_bundle(layout.model(name))
    layout.vectors(name).touch()
    for path in (*folder.rglob("*"), folder, folder.parent):
        sync_path(path)
    write_whole(folder / "manifest.json", describe_generation(bundle))


def describe_generation(bundle: Bundle) -> bytes:
    """The `manifest.json` of a generation that was built with a bundle."""
    manifest = bundle.manifest
    description = {
        "format_version": FORMAT_VERSION,
        "model": manifest.model_id,
        "metric": manifest.metric,
        "embedding_size": manifest.embedding_size,
        "bundle": file_digest(bundle.folder / MANIFEST_NAME),  # which holds the digests of the bundle's other files
    }
    return canonical_json(description) + b"\n"


def write_description(path: Path, bundle: Bundle) -> None:
    """Bring a generation's `manifest.json` into step with its bundle, durably.

    In place: who uses the generation holds a lock on this very file. Where only a digest differs, no moment shows half.
    """
    data = describe_generation(bundle)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_path(path.parent)


def move_into_place(draft: Path, folder: Path) -> None:
    """Rename a whole index to where it should be. Raises IndexBusyError if one is there by now."""
    try:
        draft.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise IndexBusyError(
            "another process made this index meanwhile", where=folder, remedy="wait for it to end, or stop it"
        ) from error


@contextmanager
def building(layout: Layout) -> Iterator[None]:
    """Be the one process that builds, synchronises or makes generations. Raises IndexBusyError."""
    with layout.build_lock.open("w") as lock:
        for attempt in range(_LOCK_ATTEMPTS):  # who only asks `is_building` holds the lock for an instant
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if attempt == _LOCK_ATTEMPTS - 1:
                    raise IndexBusyError(
                        "another process is building this index",
                        where=layout.folder,
                        remedy="wait for it to end, or stop it",
                    ) from error
                time.sleep(_LOCK_PAUSE)
        yield


def is_building(layout: Layout) -> bool:
    """Whether some process holds the build lock."""
    try:
        with layout.build_lock.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
