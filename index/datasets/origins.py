"""Where each benchmark comes from and what a whole one holds: plain data.

Addresses are the publishers' own; some have gone over the years, and are tried in order. Checksums are those that
public loaders of the data sets carry; where none is known, what is unpacked is counted instead. What may change here:
addresses. What may not: the counts, which are those of the papers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from index.datasets import cars, cub, inshop, sop
from index.datasets.registry import read_protocol, read_training_pictures
from index.download import Origin
from index.errors import SourceError
from index.sources import SourcePicture


@dataclass(frozen=True)
class Counts:
    """How much a data set holds."""

    pictures: int
    classes: int
    training_classes: int

    def __str__(self) -> str:
        return f"{self.pictures} pictures of {self.classes} classes, {self.training_classes} of them to train on"


@dataclass(frozen=True)
class Benchmark:
    """A data set that can be prepared.

    `home`: its page. `files`: what is downloaded; none where the publishers give it on request alone. `find_content`:
    the folder that becomes the root, of what was unpacked. `finish`: what is made there before it is checked.
    """

    name: str
    title: str
    home: str
    files: tuple[Origin, ...]
    counts: Counts
    find_content: Callable[[Path], Path]
    protocols: tuple[str, ...] = ("all",)  # that hold every picture there is to test with
    finish: Callable[[Path], None] = lambda root: None
    nested: tuple[str, ...] = ()  # archives inside, unpacked where they lie

    def list_pictures(self, root: Path) -> tuple[tuple[SourcePicture, ...], tuple[SourcePicture, ...]]:
        """The pictures to train on, and every picture, by their lists. Raises SourceError."""
        training = read_training_pictures(self.name, root)
        every = {picture.key: picture for picture in training}
        for name in self.protocols:
            protocol = read_protocol(self.name, root, name)
            every |= {picture.key: picture for picture in (*protocol.queries, *protocol.gallery)}
        return training, tuple(every.values())


def _find_grocery(folder: Path) -> Path:
    found = sorted(folder.glob("**/classes.csv"))
    if not found:
        raise SourceError("not the Grocery Store data set", where=folder, expected="a classes.csv", found="none")
    return found[0].parent


def _find_inshop(folder: Path) -> Path:
    path, _ = inshop.locate(folder)
    return path.parent.parent if path.parent.name == "Eval" else path.parent


def _find_cars(folder: Path) -> Path:
    cars.read_cars(folder)
    return folder


_BENCHMARKS = (
    Benchmark(
        name="cub",
        title="CUB-200-2011",
        home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        files=(
            Origin(
                "CUB_200_2011.tgz",
                ("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
                md5="97eceeb196236b17998738112f37df78",
            ),
        ),
        counts=Counts(11_788, 200, 100),
        find_content=cub.MARKS.locate,
    ),
    Benchmark(
        name="cars",
        title="Cars-196",
        home="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        files=(
            Origin(
                "car_ims.tgz",
                (
                    "http://imagenet.stanford.edu/internal/car196/car_ims.tgz",
                    "http://ai.stanford.edu/~jkrause/car196/car_ims.tgz",
                ),
                md5="d5c8f0aa497503f355e17dc7886c3f14",
            ),
            Origin(
                "cars_annos.mat",
                (
                    "http://imagenet.stanford.edu/internal/car196/cars_annos.mat",
                    "http://ai.stanford.edu/~jkrause/car196/cars_annos.mat",
                ),
                md5="b407c6086d669747186bd1d764ff9dbc",
            ),
        ),
        counts=Counts(16_185, 196, 98),
        find_content=_find_cars,
        finish=cars.write_list,
    ),
    Benchmark(
        name="sop",
        title="Stanford Online Products",
        home="https://cvgl.stanford.edu/projects/lifted_struct/",
        files=(
            Origin(
                "Stanford_Online_Products.zip",
                ("http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",),
                md5="7f73d41a2f44250d4779881525aea32e",
            ),
        ),
        counts=Counts(120_053, 22_634, 11_318),
        find_content=sop.MARKS.locate,
    ),
    Benchmark(
        name="inshop",
        title="In-Shop Clothes Retrieval",
        home="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        files=(),
        counts=Counts(52_712, 7_982, 3_997),
        find_content=_find_inshop,
        protocols=("test",),
        nested=("Img/img.zip", "img.zip"),
    ),
    Benchmark(
        name="grocery",
        title="the Grocery Store data set",
        home="https://github.com/marcusklasson/GroceryStoreDataset",
        files=(
            Origin(
                "GroceryStoreDataset.zip",
                ("https://codeload.github.com/marcusklasson/GroceryStoreDataset/zip/refs/heads/master",),
            ),
        ),
        counts=Counts(5_421 + 40, 81, 41),  # photographs, and the test classes' catalogue pictures
        find_content=_find_grocery,
        protocols=("self", "catalogue"),
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({one.name: one for one in _BENCHMARKS})
