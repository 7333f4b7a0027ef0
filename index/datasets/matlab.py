"""The annotations of Cars-196, which come as MATLAB files: the one place that touches scipy.

What may change here: more layouts. Not: that everything else works without scipy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from index.errors import SourceError, UsageError


@dataclass(frozen=True)
class Annotation:
    """One picture: its file as the annotations name it, and its class, from 1."""

    file: str
    number: int


def read_annotations(path: Path) -> tuple[Annotation, ...]:
    """The rows of `cars_annos.mat` (`relative_im_path`), or of the development kit's files (`fname`).

    Raises SourceError for another file, or one without classes; UsageError where scipy is not installed.
    """
    return tuple(_read_rows(path, _load(path, "annotations")))


def _read_rows(path: Path, rows: Any) -> Iterator[Annotation]:
    names = rows.dtype.names or ()
    column = next((name for name in ("relative_im_path", "fname") if name in names), None)
    if column is None or "class" not in names:
        raise SourceError(
            "not the annotations of Cars-196",
            where=path,
            expected="relative_im_path or fname, and class",
            found=", ".join(names) or "no fields",
            remedy="of the test pictures' files, take the one with labels" if column else None,
        )
    for row in rows:
        yield Annotation(str(row[column]), int(row["class"]))


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of their numbers. Raises as `read_annotations`."""
    return tuple(str(name) for name in _load(path, "class_names"))


def _load(path: Path, name: str) -> Any:
    """A variable of a file, one-dimensional."""
    try:
        io = import_module("scipy.io")
        numpy = import_module("numpy")
    except ImportError as error:
        raise UsageError(
            "MATLAB files need scipy",
            where=path,
            expected="the package scipy",
            found=error,
            remedy="pip install '.[data]' in the clone, or run `crossmatch data prepare cars` where it is",
        ) from error
    try:
        return numpy.atleast_1d(io.loadmat(path, squeeze_me=True)[name])
    except KeyError as error:
        raise SourceError(f"there is no `{name}`", where=path, expected="a MATLAB file of Cars-196") from error
    except Exception as error:  # scipy's reader fails in many ways on bytes that are no MATLAB file
        raise SourceError("can not be read as MATLAB", where=path, found=str(error)[:200] or type(error)) from error
