"""Archives from elsewhere, unpacked into a new folder: plain files and folders alone, below it, and not without end.

What may change here: more formats, limits. What may not: nothing is written outside the folder, no link and no device
is made, and an archive that is broken or cut off is an error.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from index.errors import SourceError

_CHUNK = 2**20
_LEFT_OUT = ("__MACOSX", ".DS_Store")  # what a Mac adds to archives
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold."""

    files: int = 1_000_000
    size: int = 64 * 2**30  # bytes, unpacked


@dataclass
class _Target:
    """The folder, and what has gone into it."""

    archive: Path
    folder: Path
    limits: Limits
    on_progress: Callable[[int, int], None]
    files: int = 0
    size: int = 0
    expected: int = 0  # files; 0 where it is not known
    folders: set[Path] = field(default_factory=set)

    def add_folder(self, name: str) -> None:
        path = self._place(name)
        if path is not None:
            self._make(path)

    def add_file(self, name: str, content: IO[bytes]) -> None:
        """Raises SourceError for a name that is there already, or more than the limits allow."""
        path = self._place(name)
        if path is None:
            return
        self.files += 1
        if self.files > self.limits.files:
            raise SourceError("too many files", where=self.archive, expected=f"at most {self.limits.files}")
        self._make(path.parent)
        try:
            with path.open("xb") as file:
                self._copy(content, file)
        except (FileExistsError, IsADirectoryError) as error:
            raise SourceError("a name is there twice", where=f"{self.archive}: {name}") from error
        self.on_progress(self.files, self.expected)

    def _copy(self, content: IO[bytes], file: IO[bytes]) -> None:
        while chunk := content.read(_CHUNK):
            self.size += len(chunk)
            if self.size > self.limits.size:
                raise SourceError("too large", where=self.archive, expected=f"at most {self.limits.size} bytes")
            file.write(chunk)

    def _make(self, path: Path) -> None:
        if path in self.folders:
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise SourceError("a name is a file and a folder", where=f"{self.archive}: {path.name}") from error
        self.folders.add(path)

    def _place(self, name: str) -> Path | None:
        """Where a member goes; None for one that is left out. Raises SourceError for a name that leads elsewhere."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise SourceError(
                "a path that leads out of its folder",
                where=self.archive,
                found=repr(name[:200]),
                remedy="do not trust this archive",
            )
        if not path.parts or any(part in _LEFT_OUT or part.startswith("._") for part in path.parts):
            return None
        return self.folder / path


def unpack(archive: Path, folder: Path, on_progress: Callable[[int, int], None], limits: Limits | None = None) -> None:
    """The files of a zip or tar archive (compressed or not) below `folder`, which is made.

    `on_progress(files so far, files in all, or 0)`. Raises SourceError with what is wrong; `folder` may then hold some.
    """
    target = _Target(archive, folder, limits or Limits(), on_progress)
    folder.mkdir(parents=True, exist_ok=True)
    with _explaining(archive):
        if zipfile.is_zipfile(archive):
            _unpack_zip(target)
        elif archive.suffix.lower() == ".zip":
            raise zipfile.BadZipFile("no end of a zip file")
        else:
            _unpack_tar(target)


@contextmanager
def _explaining(archive: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.ReadError as error:
        raise SourceError(
            "can not be unpacked",
            where=archive,
            expected="a whole zip, tar, tar.gz, tar.bz2 or tar.xz file",
            found=str(error)[:200] or "no archive",
        ) from error
    except _BROKEN as error:
        raise SourceError(
            "broken or cut off",
            where=archive,
            expected="a whole archive",
            found=str(error)[:200],
            remedy="get it again",
        ) from error


def _unpack_zip(target: _Target) -> None:
    with zipfile.ZipFile(target.archive) as archive:
        target.expected = len(archive.infolist())
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _not_plain(target, member.filename)
            if member.flag_bits & 0x1:
                raise SourceError("needs a password", where=target.archive, remedy="unpack it, and give its folder")
            if member.is_dir():
                target.add_folder(member.filename)
                continue
            with archive.open(member) as content:
                target.add_file(member.filename, content)


def _unpack_tar(target: _Target) -> None:
    with tarfile.open(target.archive, "r:*") as archive:
        for member in archive:
            if member.isdir():
                target.add_folder(member.name)
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise _not_plain(target, member.name)
            with content:
                target.add_file(member.name, content)
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """A tar that was cut off between two files looks whole but for its end, a block of zeros that is read."""
    source = archive.fileobj
    assert source is not None
    if source.tell() == archive.offset:
        raise EOFError("the end is missing")
    while source.read(_CHUNK):  # to the end, where gzip keeps its checksum
        pass


def _not_plain(target: _Target, name: str) -> SourceError:
    return SourceError(
        "holds a link, a device or the like",
        where=target.archive,
        expected="plain files and folders",
        found=repr(name[:200]),
        remedy="do not trust this archive",
    )
