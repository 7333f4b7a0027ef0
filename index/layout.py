"""Where everything lies in an index folder, and the few moves that put a file or folder there whole.

What may change here: nothing without a new format version; `docs/artifacts.md` is this in prose.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

CATALOG = "catalog.sqlite"


@dataclass(frozen=True)
class Layout:
    """The paths of one index folder."""

    folder: Path

    @property
    def catalog(self) -> Path:
        """The SQLite catalogue: the truth."""
        return self.folder / CATALOG

    @property
    def current(self) -> Path:
        """A text file with the active generation's name, for people; the catalogue's row decides."""
        return self.folder / "CURRENT"

    @property
    def build_lock(self) -> Path:
        """Held (flock) by the one process that builds."""
        return self.folder / "build.lock"

    def original(self, content_hash: str) -> Path:
        """A picture that came in over HTTP."""
        return self.folder / "originals" / content_hash[:2] / content_hash

    def thumbnail(self, content_hash: str) -> Path:
        """256 px JPEG of a picture."""
        return self.folder / "thumbnails" / content_hash[:2] / f"{content_hash}.jpg"

    def generation(self, name: str) -> Path:
        """A generation's folder."""
        return self.folder / "generations" / name

    def model(self, name: str) -> Path:
        """The bundle a generation was built with."""
        return self.generation(name) / "model"

    def vectors(self, name: str) -> Path:
        """A generation's float32 rows."""
        return self.generation(name) / "vectors.f32"

    def is_index(self) -> bool:
        """Whether there is an index in the folder."""
        return self.catalog.is_file()


def sync_path(path: Path) -> None:
    """Make what was written to a file, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path, *, durable: bool) -> None:
    """Make a folder and those above it; with `durable`, their names outlive a power cut, too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent, durable=durable)
    folder.mkdir(exist_ok=True)
    if durable:
        sync_path(folder.parent)


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put a file at `path` whole or not at all; with `durable`, it also outlives a power cut."""
    _make_folder(path.parent, durable=durable)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_path(path.parent)
