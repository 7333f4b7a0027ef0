"""The Grocery Store data set: photographs from shelves, and one clean catalogue picture a class.

M. Klasson, C. Zhang, H. Kjellström, "A hierarchical grocery store image dataset with visual and semantic labels",
WACV 2019. Trained on the even classes, tested on the odd ones, so that test labels are unseen, as in the
metric-learning benchmarks. What may change here: more protocols. What may not: which pictures a protocol holds.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from index.datasets.protocol import Dataset, Protocol
from index.errors import SourceError
from index.sources import SourcePicture

PARTS = ("train", "val", "test")
PROTOCOLS = ("shelf", "catalogue", "self")
_CLASSES_NAME = "classes.csv"
_NAME, _ID, _ICONIC = "Class Name (str)", "Class ID (int)", "Iconic Image Path (str)"


@dataclass(frozen=True)
class GroceryClass:
    """A fine class; its name is the label of its pictures."""

    id: int
    name: str
    iconic: str  # the catalogue picture's path below the root

    @property
    def is_test(self) -> bool:
        """Odd: kept from training, and from every choice."""
        return self.id % 2 == 1


def read_classes(root: Path) -> tuple[GroceryClass, ...]:
    """Every fine class, in the order of `classes.csv`. Raises SourceError."""
    path = root / _CLASSES_NAME
    rows = csv.DictReader(_read_lines(path), restval="")
    try:
        classes = tuple(GroceryClass(int(row[_ID]), row[_NAME], row[_ICONIC].lstrip("/")) for row in rows)
    except (csv.Error, KeyError, ValueError) as error:
        raise _misfit(path, error) from error
    if not classes or not all(class_.name and class_.iconic for class_ in classes):
        raise _misfit(path, "an empty field" if classes else "no class")
    return classes


def _misfit(path: Path, found: object) -> SourceError:
    return SourceError(
        "does not list the classes", where=path, expected=f"the columns {_NAME}, {_ID} and {_ICONIC}", found=found
    )


def read_training_pictures(root: Path, classes: Collection[int] | None = None) -> tuple[SourcePicture, ...]:
    """All photographs (train, val and test) of `classes`, by default the even ones. Raises SourceError."""
    chosen = _choose_classes(root, classes, test=False)
    return tuple(picture for part in PARTS for picture in _read_part(root, part, chosen))


def read_protocol(root: Path, protocol: str | None = None, classes: Collection[int] | None = None) -> Protocol:
    """A protocol over `classes`, by default the odd ones; choices are made on even ones that training held out.

    `shelf` (the default): photographs of `test.txt` among those of `train.txt`. `catalogue`: the same queries among
    the classes' catalogue pictures. `self`: all photographs against each other.

    Raises SourceError.
    """
    protocol = protocol or PROTOCOLS[0]
    chosen = _choose_classes(root, classes, test=True)
    if protocol == "self":
        pictures = tuple(picture for part in PARTS for picture in _read_part(root, part, chosen))
        return Protocol(protocol, pictures, pictures)
    if protocol not in PROTOCOLS:
        raise SourceError("grocery has no such protocol", where=protocol, expected=" or ".join(PROTOCOLS))
    gallery = _read_part(root, "train", chosen) if protocol == "shelf" else _list_iconic(root, chosen)
    return Protocol(protocol, tuple(_read_part(root, "test", chosen)), tuple(gallery))


def _choose_classes(root: Path, ids: Collection[int] | None, *, test: bool) -> dict[int, GroceryClass]:
    known = {class_.id: class_ for class_ in read_classes(root)}
    if ids is None:
        return {id_: class_ for id_, class_ in known.items() if class_.is_test == test}
    unknown = sorted(set(ids) - set(known))
    if unknown:
        raise SourceError(f"no such class as {unknown[0]}", where=root / _CLASSES_NAME)
    return {id_: known[id_] for id_ in sorted(set(ids))}


def _read_part(root: Path, part: str, classes: dict[int, GroceryClass]) -> Iterator[SourcePicture]:
    """The photographs of `classes` in a part's list, whose lines are: path, fine class id, coarse class id."""
    path = root / f"{part}.txt"
    for number, line in enumerate(_read_lines(path), start=1):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3 or not fields[0] or not fields[1].isdecimal():
            raise SourceError(
                "the line does not fit",
                where=f"{path}:{number}",
                expected="path, fine class id, coarse class id",
                found=line[:100],
            )
        if int(fields[1]) in classes:
            yield SourcePicture(fields[0], classes[int(fields[1])].name, root / fields[0])


def _list_iconic(root: Path, classes: dict[int, GroceryClass]) -> Iterator[SourcePicture]:
    for class_ in classes.values():
        yield SourcePicture(class_.iconic, class_.name, root / class_.iconic)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            "not the Grocery Store data set",
            where=path,
            expected=f"{_CLASSES_NAME}, {', '.join(f'{part}.txt' for part in PARTS)} and their pictures",
            found="no such file" if isinstance(error, FileNotFoundError) else error,
            remedy="let --root be the folder `dataset` of a clone of marcusklasson/GroceryStoreDataset",
        ) from error


DATASET = Dataset("grocery", PROTOCOLS, read_protocol, read_training=read_training_pictures)
