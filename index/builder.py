"""A source of pictures -> an index folder that answers from the first few hundred pictures on.

Pictures are decoded, encoded and drawn small on a thread a core; batches of them are committed in one durable
transaction each, and successive snapshots are sealed on the way. Killed anywhere, the same call goes on where it was.
What may change here: batch sizes and order of work. Not: that a bad picture never ends a build.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from index.bundle import Bundle, read_bundle
from index.catalog import Catalog, SourceState
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.errors import (
    ImageError,
    IndexBusyError,
    IndexExistsError,
    ModelMismatchError,
    SourceError,
    UsageError,
    VectorError,
)
from index.images import ImageLimits, decode, read_bytes
from index.layout import Layout, sync_path, write_whole
from index.manifest import canonical_json
from index.preprocess import preprocess, reduce_to
from index.snapshot import seal_snapshot
from index.sources import Source, SourcePicture
from index.thumbnails import draw_thumbnail
from index.types import Vectors
from index.writer import IndexWriter, NewItem

FORMAT_VERSION = 1
_BATCH = 128  # pictures a transaction: about a second's work of two cores
_LOCK_ATTEMPTS = 5
_LOCK_PAUSE = 0.05  # seconds
_FIRST_SEAL = 1024  # pictures; then whenever the delta has outgrown the snapshot

OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class SkippedPicture:
    """A file that could not be indexed, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class BuildReport:
    """What a build did."""

    added: int
    kept: int  # already there from an interrupted build
    skipped: tuple[SkippedPicture, ...]


def build_index(
    source: Source,
    bundle: Bundle,
    folder: Path,
    *,
    threads: int | None = None,
    limits: ImageLimits | None = None,
    on_progress: OnProgress | None = None,
) -> BuildReport:
    """Index every picture of `source` into `folder`, or go on with the build of it that was interrupted.

    Raises IndexExistsError where another index is, IndexBusyError while another process builds, ModelMismatchError
    for an interrupted build by another model, SourceError if not one file is a picture.
    """
    layout = Layout(folder)
    fresh = not layout.is_index()
    if fresh:
        create_index(layout, bundle)
    with building(layout), Catalog(layout.catalog) as catalog:
        source_id, kept = _open_source(catalog, source, bundle, layout)
        pool = EncoderPool(bundle, threads, limits or ImageLimits())
        skipped = _index_pictures(layout, catalog, pool, source, source_id, on_progress)
        report = BuildReport(len(source.pictures) - len(skipped) - kept, kept, tuple(skipped))
        if report.added + report.kept:
            with catalog.writing():
                catalog.complete_source(source_id)
            seal_snapshot(layout, catalog)
    if not report.added + report.kept:
        if fresh:
            shutil.rmtree(folder)
        raise SourceError(
            f"not one of {len(source.pictures)} files could be indexed",
            where=source.name,
            found=skipped[0].reason,
            remedy="check that they are pictures",
        )
    return report


def create_index(layout: Layout, bundle: Bundle) -> None:
    """Make an empty index for a model; it appears whole or not at all. Raises UsageError if something is in the way."""
    folder = layout.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "something else is where the index should go",
            where=folder,
            expected="a new or empty folder",
            found="a folder with other content" if folder.is_dir() else "a file",
            remedy="choose another --index",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    manifest = bundle.manifest
    name = f"0001-{manifest.model_id[:8]}"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as parent:
        draft = Layout(Path(parent) / "index")
        draft.generation(name).mkdir(parents=True)
        shutil.copytree(bundle.folder, draft.model(name))
        read_bundle(draft.model(name))
        draft.vectors(name).touch()
        description = {
            "format_version": FORMAT_VERSION,
            "model": manifest.model_id,
            "metric": manifest.metric,
            "embedding_size": manifest.embedding_size,
        }
        write_whole(draft.generation(name) / "manifest.json", canonical_json(description) + b"\n")
        with Catalog(draft.catalog, create=True) as catalog, catalog.writing():
            catalog.insert_generation(name, manifest.model_id, manifest.embedding_size)
        write_whole(draft.current, f"{name}\n".encode())
        for path in (*draft.folder.rglob("*"), draft.folder):
            sync_path(path)
        _move_into_place(draft.folder, folder)
    sync_path(folder.parent)


def _move_into_place(draft: Path, folder: Path) -> None:
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
    """Be the one process that builds. Raises IndexBusyError."""
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


def find_complete_source(layout: Layout, name: str) -> SourceState | None:
    """The state of a source in an index, if it was indexed whole."""
    if not layout.is_index():
        return None
    with Catalog(layout.catalog) as catalog:
        return next((state for state in catalog.sources() if state.name == name and state.complete), None)


def _open_source(catalog: Catalog, source: Source, bundle: Bundle, layout: Layout) -> tuple[int, int]:
    """The source's id, and how many of its pictures are indexed already."""
    states = catalog.sources()
    if any(state.complete or state.name != source.name for state in states):
        raise IndexExistsError(
            "there is an index already",
            where=layout.folder,
            expected="a new folder, or an interrupted build of this source",
            found=f"an index of {states[0].name}",
            remedy="choose another --index, or remove the folder",
        )
    generation = catalog.active_generation()
    if generation.model_id != bundle.manifest.model_id:
        raise ModelMismatchError(
            "the interrupted build used another model",
            where=layout.folder,
            expected=f"model {generation.model_id[:12]}...",
            found=f"{bundle.manifest.model_id[:12]}...",
            remedy="give the same --model, or remove the folder",
        )
    with catalog.writing():
        source_id = catalog.put_source(source.name, str(source.root), len(source.pictures))
    known = catalog.source_hashes(source_id)
    return source_id, sum(picture.key in known for picture in source.pictures)


def _index_pictures(
    layout: Layout,
    catalog: Catalog,
    pool: EncoderPool,
    source: Source,
    source_id: int,
    on_progress: OnProgress | None,
) -> list[SkippedPicture]:
    known = catalog.source_hashes(source_id)
    wanted = [picture for picture in source.pictures if picture.key not in known]
    skipped: list[SkippedPicture] = []
    batch: list[NewItem] = []
    sealed, unsealed = 0, len(known)

    def encode(encoder: Encoder, picture: SourcePicture) -> NewItem | SkippedPicture:
        return encode_picture(layout, encoder, source, source_id, picture)

    with IndexWriter(layout, catalog) as writer:
        for done, outcome in enumerate(pool.map(encode, wanted), start=len(source.pictures) - len(wanted) + 1):
            if isinstance(outcome, SkippedPicture):
                skipped.append(outcome)
            else:
                batch.append(outcome)
            if len(batch) >= _BATCH:
                writer.add(batch)
                unsealed += len(batch)
                batch = []
                if unsealed >= max(_FIRST_SEAL, sealed):
                    seal_snapshot(layout, catalog)
                    sealed, unsealed = sealed + unsealed, 0
            if on_progress:
                on_progress(done, len(source.pictures))
        writer.add(batch)
    return skipped


def encode_picture(
    layout: Layout, encoder: Encoder, source: Source, source_id: int, picture: SourcePicture
) -> NewItem | SkippedPicture:
    """Decode a picture once; its vector, and its thumbnail on disk."""
    try:
        data = read_bytes(picture.path, encoder.limits)
        content_hash = hashlib.sha256(data).hexdigest()
        vector, thumbnail = _encode_and_draw(encoder, data)
    except (ImageError, VectorError) as error:
        return SkippedPicture(picture.key, error.reason)
    write_whole(layout.thumbnail(content_hash), thumbnail, durable=False)
    path = _relative(picture.path, source.root)
    return NewItem(picture.key, picture.label, dict(picture.metadata), source_id, content_hash, path, vector)


def _encode_and_draw(encoder: Encoder, data: bytes) -> tuple[Vectors, bytes]:
    rule = encoder.bundle.manifest.preprocessing
    image = decode(data, encoder.limits, reduce_to=reduce_to(rule))
    return encoder.encode(preprocess(image, rule)), draw_thumbnail(image)


def _relative(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()  # a manifest may name pictures anywhere
