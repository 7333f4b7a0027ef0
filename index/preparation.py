"""A benchmark from its publishers' archives, or from one's own copy, to a folder that is whole and checked.

Download -> unpack into a draft beside the root -> count and look for every listed picture -> one rename. What may
change here: what is checked. What may not: a root that is there is whole, and a failure leaves no part of it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from index.datasets.origins import Benchmark, Counts
from index.download import Origin, download, file_md5
from index.errors import SourceError, UsageError
from index.layout import write_whole
from index.unpacking import unpack

RECORD = "prepared.json"
Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""A title -> a context with a callback (done, total): `index.terminal.progress_bar`."""


@dataclass(frozen=True)
class Request:
    """What is to be prepared, and where."""

    benchmark: Benchmark
    root: Path
    own: tuple[Path, ...] = ()  # archives, folders or files that the user has already
    subset: bool = False  # fewer pictures and classes than the official ones will do


@dataclass(frozen=True)
class Prepared:
    """What is at the root now; `prepared.json` says it."""

    name: str
    root: Path
    counts: Counts
    official: bool  # the counts are those of the whole data set
    files: tuple[dict[str, Any], ...] = field(default=())  # name, bytes, md5, checksum ("right", "other" or "unknown")

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch data prepare --json` prints."""
        return {
            "name": self.name,
            "root": str(self.root),
            **asdict(self.counts),
            "official": self.official,
            "files": list(self.files),
        }


def prepare(request: Request, bar: Bar) -> Prepared:
    """Make `request.root`, or check it where it is made already.

    Raises UsageError for a root that holds something else, SourceError for an archive that is broken, hostile, of
    another data set or not whole, and CrossmatchError where it can not be downloaded.
    """
    root, benchmark = request.root.absolute(), request.benchmark
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        return _check_there(request, root)
    downloads = root.with_name(f".{root.name}-downloads")
    given = request.own or _download(benchmark, downloads, bar)
    with _draft(root) as draft, _naming(given, draft / "content"):
        files = tuple(_take_in(benchmark, path, draft / "content", bar) for path in given)
        for name in benchmark.nested:
            for inner in sorted((draft / "content").glob(f"**/{name}")):
                with bar("Unpacking") as on_progress:
                    unpack(inner, inner.parent, on_progress)
                inner.unlink()
        prepared = _check(request, benchmark.find_content(draft / "content"), root, files)
    shutil.rmtree(downloads, ignore_errors=True)
    return prepared


def _check_there(request: Request, root: Path) -> Prepared:
    """A folder that the user unpacked, or an earlier run made. Nothing in it is changed but what we add."""
    if request.own:
        raise UsageError(
            "the folder is in the way", where=root, expected="a new or empty folder", remedy="choose another --root"
        )
    try:
        return _finish(request, request.benchmark.find_content(root), ())
    except SourceError as error:
        raise UsageError(
            f"holds something that is not the whole of {request.benchmark.title}: {error}",
            remedy="choose another --root",
        ) from error


def _download(benchmark: Benchmark, folder: Path, bar: Bar) -> tuple[Path, ...]:
    if not benchmark.files:
        raise UsageError(
            f"{benchmark.title} can not be downloaded by a program",
            expected="--archive with what its publishers send on request",
            remedy=f"ask at {benchmark.home}, and give img.zip and list_eval_partition.txt, or the folder of both",
        )
    found = []
    for origin in benchmark.files:
        with bar(f"Downloading {origin.name}") as on_progress:
            found.append(download(origin, folder, on_progress))
    return tuple(found)


@contextmanager
def _draft(root: Path) -> Iterator[Path]:
    """A folder beside the root that is gone afterwards, whatever happens; one that a killed run left goes first."""
    draft = root.with_name(f".{root.name}-draft")
    draft.mkdir(parents=True, exist_ok=True)
    lock = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in draft.iterdir():
            shutil.rmtree(path)
        yield draft
        shutil.rmtree(draft)
    except BlockingIOError as error:
        raise UsageError("another process prepares this folder", where=root, remedy="wait for it") from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(lock)


@contextmanager
def _naming(given: Sequence[Path], content: Path) -> Iterator[None]:
    """Errors name what the user gave, not the draft, which is gone by then."""
    try:
        yield
    except SourceError as error:
        if not str(error.where).startswith(str(content)):
            raise
        inside = str(error.where).removeprefix(str(content)).lstrip("/")
        raise error.at(": ".join(filter(None, (", ".join(map(str, given)), inside)))) from error


def _take_in(benchmark: Benchmark, path: Path, folder: Path, bar: Bar) -> dict[str, Any]:
    """An archive unpacked, a folder copied, a single list copied. Raises SourceError."""
    folder.mkdir(exist_ok=True)
    if path.is_dir():
        if folder.absolute().is_relative_to(path.resolve()):  # it would be copied into itself without end
            raise UsageError(
                "the root lies in the folder that is to be copied", where=path, remedy="choose another --root"
            )
        shutil.copytree(path, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
        return {"name": path.name, "bytes": None, "md5": None, "checksum": "unknown"}
    if not path.is_file():
        raise SourceError("no such archive or folder", where=path, expected="a file or a folder", found="nothing there")
    if path.suffix.lower() in (".mat", ".txt", ".csv"):
        shutil.copyfile(path, folder / path.name)
    else:
        with bar(f"Unpacking {path.name}") as on_progress:
            unpack(path, folder, on_progress)
    return _describe(path, benchmark.files)


def _describe(path: Path, origins: Sequence[Origin]) -> dict[str, Any]:
    """A file's digest, and whether it is the known one: packed anew, the same pictures have another."""
    md5 = file_md5(path)
    known = next((origin.md5 for origin in origins if origin.name == path.name), None)
    checksum = "unknown" if known is None else "right" if known == md5 else "other"
    return {"name": path.name, "bytes": path.stat().st_size, "md5": md5, "checksum": checksum}


def _check(request: Request, content: Path, root: Path, files: tuple[dict[str, Any], ...]) -> Prepared:
    """Finish what was unpacked to `content`, and make it the root."""
    prepared = _finish(request, content, files)
    content.replace(root)  # onto an empty folder, or none
    return prepared


def _finish(request: Request, content: Path, files: tuple[dict[str, Any], ...]) -> Prepared:
    """Count, look for every picture, and write the record. Raises SourceError."""
    benchmark = request.benchmark
    benchmark.finish(content)
    training, every = benchmark.list_pictures(content)
    classes = len({picture.label for picture in every})
    counts = Counts(len(every), classes, len({picture.label for picture in training}))
    if counts != benchmark.counts and not request.subset:
        raise SourceError(
            f"not the whole of {benchmark.title}",
            where=", ".join(str(path) for path in request.own) or request.root,
            expected=benchmark.counts,
            found=counts,
            remedy="get the whole archive, or take what is there with --subset",
        )
    missing = [picture.key for picture in every if not _is_there(picture.path)]
    if missing:
        raise SourceError(
            f"{len(missing)} of {counts.pictures} listed pictures are missing or empty",
            where=", ".join(str(path) for path in request.own) or request.root,
            expected="every picture that the lists name",
            found=f"no {missing[0]}",
            remedy="get the whole archive",
        )
    prepared = Prepared(benchmark.name, request.root, counts, counts == benchmark.counts, files)
    if files:  # a folder that was there already stays as it was
        record = {"format": 1, **prepared.to_json()}
        del record["root"]
        write_whole(content / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return prepared


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False
