"""What a data set's module gives: protocols of labelled pictures, and a `Dataset` that says how to read them.

What may change here: more facts about a data set, each with a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from index.errors import SourceError
from index.evaluation import KS
from index.sources import SourcePicture


@dataclass(frozen=True)
class Protocol:
    """Queries, and the gallery they are searched in; a picture's key is its identity, here and there.

    A query whose key is in the gallery too is that very picture, and is no answer to itself.
    """

    name: str
    queries: tuple[SourcePicture, ...]
    gallery: tuple[SourcePicture, ...]

    def __post_init__(self) -> None:
        """Raises SourceError where a side is empty, or lists a key twice or a picture without a label."""
        for side, pictures in (("queries", self.queries), ("gallery", self.gallery)):
            if not pictures:
                raise SourceError(f"the {side} of the protocol {self.name} hold no picture")
            check_labels(pictures)
            _check_keys(pictures)


def check_labels(pictures: tuple[SourcePicture, ...]) -> None:
    """Raises SourceError with the first picture that has no label."""
    without = [picture.path for picture in pictures if picture.label is None]
    if without:
        raise SourceError(
            "the picture has no label",
            where=without[0],
            expected="a label for each picture: its folder, or the column `label`",
            found=f"{len(without)} without",
            remedy="label them, or take them out",
        )


def _check_keys(pictures: Iterable[SourcePicture]) -> None:
    seen: set[str] = set()
    for picture in pictures:
        if picture.key in seen:
            raise SourceError("the key is listed twice", where=picture.key, expected="each picture once")
        seen.add(picture.key)


@dataclass(frozen=True)
class Dataset:
    """A data set that can be trained on and evaluated on.

    `read(root, protocol)` raises SourceError; without a protocol (None) it takes the data set's own default.
    `read_training(root)`: the pictures of the classes that may be trained on. `ks`: at which k recall is reported.
    """

    name: str
    protocols: tuple[str, ...]
    read: Callable[[Path, str | None], Protocol]
    read_training: Callable[[Path], tuple[SourcePicture, ...]]
    ks: tuple[int, ...] = KS
