"""CUB-200-2011: 11,788 photographs of 200 kinds of birds; the first 100 train, the others test.

C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001.
Its own `train_test_split.txt` is for classification and is not read. What may change here: more protocols. What may
not: which pictures a protocol holds.
"""

from __future__ import annotations

from pathlib import Path

from index.datasets.lists import PROTOCOLS, Marks, Split, check_path, read_number, read_rows
from index.datasets.protocol import Dataset, Protocol
from index.errors import SourceError
from index.sources import SourcePicture

KS = (1, 2, 4, 8, 16, 32)
MARKS = Marks("CUB-200-2011", ("images.txt", "image_class_labels.txt", "classes.txt"), ("CUB_200_2011",))


def read_split(root: Path) -> Split:
    """The first half of the classes, and the second. Raises SourceError."""
    folder = MARKS.locate(root)
    classes = dict(_read_numbered(folder / "classes.txt", "class name"))
    labels = {number: read_number(where, text) for where, number, text in _read_lines(folder / MARKS.files[1], "class")}
    sides: tuple[list[SourcePicture], list[SourcePicture]] = ([], [])
    for where, number, text in _read_lines(folder / "images.txt", "path"):
        label = labels.get(number)
        if label is None or label not in classes:
            raise SourceError(f"picture {number} has no class", where=where, expected=f"one in {MARKS.files[1]}")
        path = check_path(where, text)
        sides[label > len(classes) // 2].append(SourcePicture(path, classes[label], folder / "images" / path))
    return Split(*map(tuple, sides))


def _read_lines(path: Path, what: str) -> list[tuple[str, int, str]]:
    return [(where, read_number(where, number), text) for where, (number, text) in read_rows(path, ("number", what))]


def _read_numbered(path: Path, what: str) -> list[tuple[int, str]]:
    return [(number, text) for _, number, text in _read_lines(path, what)]


def read_protocol(root: Path, protocol: str | None = None) -> Protocol:
    """`test` (the default), `train` or `all`. Raises SourceError."""
    return read_split(root).protocol(protocol)


DATASET = Dataset("cub", PROTOCOLS, read_protocol, read_training=lambda root: read_split(root).train, ks=KS)
