"""Cars-196: 16,185 photographs of 196 models of cars; the first 98 train, the others test.

J. Krause, M. Stark, J. Deng, L. Fei-Fei, "3D Object Representations for Fine-Grained Categorization", 3dRR 2013. Its
own split is for classification and is not read. Three layouts: `cars_annos.mat` with `car_ims/`; the development kit
with `cars_train/` and `cars_test/`; and `annotations.csv`, which `crossmatch data prepare` writes from either, so that
only it needs scipy. What may change here: more layouts. What may not: which pictures a protocol holds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from index.datasets.lists import PROTOCOLS, Split, check_path
from index.datasets.matlab import read_annotations, read_class_names
from index.datasets.protocol import Dataset, Protocol
from index.errors import SourceError
from index.sources import SourcePicture

KS = (1, 2, 4, 8, 16, 32)
LIST = "annotations.csv"
_COLUMNS = ("path", "class", "name")
_WHOLE = "cars_annos.mat"
_KIT = ("devkit", "car_devkit/devkit", "car_devkit", "")
_TRAIN, _TEST, _META = "cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"


@dataclass(frozen=True)
class Car:
    """One picture: its path below the root, and its class."""

    path: str
    number: int  # from 1
    name: str


def read_cars(root: Path) -> tuple[Car, ...]:
    """Every picture that the annotations name, in their order. Raises SourceError; UsageError without scipy."""
    if (root / LIST).is_file():
        return _read_list(root / LIST)
    if (root / _WHOLE).is_file():
        rows = [(row.file, row.number) for row in read_annotations(root / _WHOLE)]
        return _name(root / _WHOLE, rows, read_class_names(root / _WHOLE))
    kit = next((root / name for name in _KIT if (root / name / _TRAIN).is_file()), None)
    if kit is None:
        raise SourceError(
            "not Cars-196",
            where=root,
            expected=f"{LIST}, {_WHOLE} or the development kit's {_TRAIN}",
            found="none of them" if root.is_dir() else "no such folder",
            remedy="make it with `crossmatch data prepare cars`, or check the path",
        )
    return _name(kit / _META, list(_read_kit(root, kit)), read_class_names(kit / _META))


def _read_kit(root: Path, kit: Path) -> Iterable[tuple[str, int]]:
    labelled = next((folder / _TEST for folder in (kit, root) if (folder / _TEST).is_file()), kit / _TEST)
    for folder, path in (("cars_train", kit / _TRAIN), ("cars_test", labelled)):
        if not path.is_file():
            raise SourceError("no such file", where=path, expected="the test pictures' annotations with labels")
        yield from ((f"{folder}/{row.file}", row.number) for row in read_annotations(path))


def _name(where: Path, rows: list[tuple[str, int]], names: tuple[str, ...]) -> tuple[Car, ...]:
    for path, number in rows:
        if not 1 <= number <= len(names):
            raise SourceError(f"{path} is of no class", where=where, expected=f"1 to {len(names)}", found=number)
    return tuple(Car(check_path(str(where), path), number, names[number - 1]) for path, number in rows)


def _read_list(path: Path) -> tuple[Car, ...]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
        if not rows or tuple(rows[0]) != _COLUMNS:
            raise ValueError(f"the header {rows[0] if rows else 'of an empty file'}")
        return tuple(Car(check_path(str(path), name), int(number), label) for name, number, label in rows[1:])
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise SourceError("can not be read", where=path, expected=",".join(_COLUMNS), found=error) from error


def write_list(root: Path) -> None:
    """Write `annotations.csv` from the MATLAB files. Raises as `read_cars`."""
    cars = read_cars(root)
    with (root / LIST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((car.path, car.number, car.name) for car in cars)


def read_split(root: Path) -> Split:
    """The first half of the classes, and the second. Raises SourceError."""
    cars = read_cars(root)
    half = max((car.number for car in cars), default=0) // 2
    sides: tuple[list[SourcePicture], list[SourcePicture]] = ([], [])
    for car in cars:
        label = f"{car.number:03d} {car.name}"  # names alone need not be unique
        sides[car.number > half].append(SourcePicture(car.path, label, root / car.path))
    return Split(*map(tuple, sides))


def read_protocol(root: Path, protocol: str | None = None) -> Protocol:
    """`test` (the default), `train` or `all`. Raises SourceError."""
    return read_split(root).protocol(protocol)


DATASET = Dataset("cars", PROTOCOLS, read_protocol, read_training=lambda root: read_split(root).train, ks=KS)
