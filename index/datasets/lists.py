"""Text lists as the benchmarks ship them, a picture a line, and splits by them.

What may change here: how a list is read. What may not: which line of which file a message names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from index.datasets.protocol import Protocol
from index.errors import SourceError
from index.sources import SourcePicture

PROTOCOLS = ("test", "train", "all")


@dataclass(frozen=True)
class Split:
    """A benchmark's pictures: classes to train on, and other classes to test with."""

    train: tuple[SourcePicture, ...]
    test: tuple[SourcePicture, ...]

    def protocol(self, name: str | None) -> Protocol:
        """`test` (the default), `train` or `all`: those pictures against each other."""
        name = name or PROTOCOLS[0]
        chosen = {"test": self.test, "train": self.train, "all": (*self.train, *self.test)}[name]
        return Protocol(name, chosen, chosen)


@dataclass(frozen=True)
class Marks:
    """How a data set's folder is known: files that lie in it, and what its archive calls it."""

    title: str
    files: tuple[str, ...]
    folders: tuple[str, ...]

    def locate(self, root: Path) -> Path:
        """`root`, or the archive's own folder below it. Raises SourceError."""
        places = (root, *(root / name for name in self.folders))
        for place in places:
            if all((place / name).is_file() for name in self.files):
                return place
        missing = next(name for name in self.files if not (root / name).is_file())
        raise SourceError(
            f"not {self.title}",
            where=root,
            expected=f"{', '.join(self.files)}, here or in {' or '.join(self.folders)}/",
            found=f"no {missing}" if root.is_dir() else "no such folder",
            remedy="make it with `crossmatch data prepare`, or check the path",
        )


def read_rows(path: Path, columns: Sequence[str], skip: int = 0) -> Iterator[tuple[str, list[str]]]:
    """(where, fields) of each line that is not empty, after `skip` lines; fields are apart by blanks.

    Raises SourceError with the line that has not as many fields as there are `columns`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SourceError("can not be read", where=path, expected="a UTF-8 list", found=reason) from error
    for number, line in enumerate(lines[skip:], start=skip + 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != len(columns):
            raise misfit(path, number, columns, line)
        yield f"{path}:{number}", fields


def misfit(path: Path, number: int, columns: Sequence[str], line: str) -> SourceError:
    """The error for a line that is not what it should be."""
    return SourceError(
        "the line does not fit", where=f"{path}:{number}", expected=", ".join(columns), found=repr(line[:100])
    )


def read_number(where: str, text: str) -> int:
    """A whole number from 1 on. Raises SourceError."""
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise SourceError("not a number", where=where, expected="a whole number from 1 on", found=repr(text[:100]))
    return int(text)


def check_path(where: str, text: str) -> str:
    """A path that stays below its folder. Raises SourceError: a list from elsewhere must not reach other files."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise SourceError("a path that leads out of the data set", where=where, found=repr(text[:200]))
    return text
