"""Where everything lies in an index folder, and the few moves that put a file or folder there whole.

What may change here: nothing without a new format version; `docs/artifacts.md` is this in prose.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from index.errors import IndexDataError, UsageError

CATALOG = "catalog.sqlite"
_ATTEMPTS = 5  # at a file that others keep clearing away


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
    def upcoming(self) -> Path:
        """The name of the generation that is about to answer, while one is."""
        return self.folder / "NEXT"

    @property
    def build_lock(self) -> Path:
        """Held (flock) by the one process that builds."""
        return self.folder / "build.lock"

    @property
    def seal_lock(self) -> Path:
        """Held (flock) by the one process that seals a snapshot."""
        return self.folder / "seal.lock"

    @property
    def clear_lock(self) -> Path:
        """Held (flock) by who clears files away; shared by those who copy files that must stay meanwhile."""
        return self.folder / "clear.lock"

    @property
    def keys(self) -> Path:
        """The SHA-256 of each key that the service asks for; see docs/artifacts.md."""
        return self.folder / "keys.json"

    @property
    def keys_lock(self) -> Path:
        """Held (flock) by who changes the keys."""
        return self.folder / "keys.lock"

    @property
    def originals(self) -> Path:
        """Pictures that did not come from a source, in folders by the first byte of their hash."""
        return self.folder / "originals"

    def original(self, content_hash: str) -> Path:
        """A picture that came in over HTTP."""
        return self.originals / content_hash[:2] / content_hash

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


_NETWORK = re.compile(
    r"^(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|lustre|glusterfs|fuse\.(sshfs|s3fs|glusterfs|gcsfuse|rclone))$"
)


def refuse_network_folder(folder: Path) -> None:
    """Raises IndexDataError where a folder is on a network file system: SQLite's log needs one kernel's memory."""
    kind = find_file_system(folder.resolve(), Path("/proc/self/mounts"))
    if kind is not None and _NETWORK.match(kind):
        raise IndexDataError(
            "an index must be on a local disk: processes share its write-ahead log through one kernel's memory",
            where=folder,
            expected="a local file system",
            found=kind,
            remedy="choose a folder on a local disk; an index that is there already, restore from a backup into one",
        )


def find_file_system(folder: Path, mounts: Path) -> str | None:
    """The type of the file system that holds a folder, by a mount table; None where there is no table."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    table = {Path(line.split()[1].replace("\\040", " ")): line.split()[2] for line in lines if line.count(" ") >= 3}
    return next((table[path] for path in (folder, *folder.parents) if path in table), None)


def describe_occupied(folder: Path, what: str, expected: str, option: str) -> UsageError:
    """What to raise where something else is at the place of a folder that is to be made."""
    return UsageError(
        what,
        where=folder,
        expected=expected,
        found="a folder with other content" if folder.is_dir() else "a file",
        remedy=f"choose another {option}",
    )


def sync_path(path: Path) -> None:
    """Make what was written to a file, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, durable: bool) -> None:
    """Make a folder, and those above it; with `durable`, their names outlive a power cut, too."""
    if folder.is_dir():
        return
    make_folder(folder.parent, durable=durable)
    folder.mkdir(exist_ok=True)
    if durable:
        sync_path(folder.parent)


@contextmanager
def drafting(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, to be filled and moved there; where it was not moved, it goes."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(descriptor)
    draft = Path(name)
    try:
        draft.chmod(0o644)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def put_whole(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Let `write` fill a file, then put it at `path`: whole or not at all; with `durable`, it outlives a power cut."""
    make_folder(path.parent, durable=durable)
    with drafting(path) as draft:
        write(draft)
        if durable:
            sync_path(draft)
        draft.replace(path)
    if durable:
        sync_path(path.parent)


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """`put_whole` of these bytes."""
    put_whole(path, lambda draft: draft.write_bytes(data), durable=durable)


def write_once(path: Path, data: bytes) -> None:
    """Put a file at `path` whole, unless these bytes are there; it outlives a power cut once it is synced.

    One that is there may be durable already, and an item's: nothing that is not synced ever takes its place.
    """
    make_folder(path.parent, durable=False)
    for left in reversed(range(_ATTEMPTS)):
        try:
            _link_once(path, data)
            return
        except FileNotFoundError:  # a compaction cleared it away in between
            if not left:
                raise


def _link_once(path: Path, data: bytes) -> None:
    with drafting(path) as draft:
        draft.write_bytes(data)
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            os.utime(path)  # young again, so that no compaction clears it away before the write that needs it
            if path.read_bytes() != data:  # damaged
                write_whole(path, data)
