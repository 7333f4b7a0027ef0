"""A labelled data set looked over before it is trained on: copies across its splits, small classes, broken files.

A copy of a test picture among the training pictures makes every figure too good, and nothing else would say so. What
may change here: more that is looked for. What may not: nothing is changed or left out; what to do is the user's choice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index.assessment import Progress
from index.datasets import find_dataset, read_protocol, read_training_pictures
from index.encoder_pool import usable_cores
from index.errors import ImageError
from index.fingerprint import RADIUS, Fingerprint, is_same_look, take_fingerprint, to_points
from index.images import ImageLimits, read_bytes
from index.sources import SourcePicture

_AHEAD = 64  # pictures handed to the threads at a time, a thread
_AT_ONCE = 4096  # pictures compared with all others at a time
MOST = 10_000  # near copies that are listed


@dataclass(frozen=True)
class Copies:
    """Pictures that are one: `kind` is `bytes`, `pixels` (another file, the same picture) or `near` (to the eye)."""

    kind: str
    keys: tuple[str, ...]
    labels: tuple[str, ...]  # of each
    splits: tuple[str, ...]  # of each

    @property
    def is_leak(self) -> bool:
        """Whether they lie across splits."""
        return len(set(self.splits)) > 1

    @property
    def is_conflict(self) -> bool:
        """Whether they are called by different labels."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True)
class SmallClass:
    """A class of which a split has too few pictures to learn from, or to find."""

    label: str
    split: str
    pictures: int


@dataclass(frozen=True)
class Broken:
    """A listed picture that can not be used."""

    key: str
    split: str
    reason: str


@dataclass(frozen=True)
class Audit:
    """What was found."""

    data: str
    splits: Mapping[str, int]  # pictures of each
    broken: tuple[Broken, ...]
    small_classes: tuple[SmallClass, ...]
    copies: tuple[Copies, ...]

    @property
    def leaks(self) -> tuple[Copies, ...]:
        """Copies across splits."""
        return tuple(one for one in self.copies if one.is_leak)

    @property
    def is_clean(self) -> bool:
        """Nothing leaks and nothing is broken."""
        return not self.leaks and not self.broken

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch data audit --json` prints."""
        return {
            "data": self.data,
            "splits": dict(self.splits),
            "broken": [asdict(one) for one in self.broken],
            "small_classes": [asdict(one) for one in self.small_classes],
            "copies": [{**asdict(one), "leak": one.is_leak, "conflict": one.is_conflict} for one in self.copies],
            "leaks": len(self.leaks),
            "conflicts": sum(one.is_conflict for one in self.copies),
        }


@dataclass(frozen=True)
class _Listed:
    picture: SourcePicture
    split: str


def audit(data: str, root: Path, threads: int | None = None, on_progress: Progress | None = None) -> Audit:
    """Look over every picture of a data set. Raises SourceError where it can not be listed."""
    listed = list_splits(data, root)
    prints: list[Fingerprint | None] = []
    broken = []
    for one, found in zip(listed, _take_fingerprints(listed, threads or usable_cores()), strict=True):
        prints.append(found if isinstance(found, Fingerprint) else None)
        if isinstance(found, str):
            broken.append(Broken(one.picture.key, one.split, found))
        if on_progress:
            on_progress(len(prints), len(listed))
    whole = [(one, found) for one, found in zip(listed, prints, strict=True) if found is not None]
    return Audit(
        data=data,
        splits=Counter(one.split for one in listed),
        broken=tuple(broken),
        small_classes=tuple(_find_small(listed)),
        copies=(*_find_equal(whole), *_find_near(whole)),
    )


def list_splits(data: str, root: Path) -> list[_Listed]:
    """Each picture once, in `train`, `query`, `gallery`, `test` (both of these) or, where none are apart, `all`."""
    dataset = find_dataset(data)
    tests = [read_protocol(data, root, name) for name in dataset.protocols if name not in ("train", "all", "self")]
    if not tests:
        pictures = read_protocol(data, root).gallery
        return [_Listed(picture, "all") for picture in pictures]
    splits: dict[str, _Listed] = {}
    for protocol in tests:
        both = protocol.queries == protocol.gallery
        for side, pictures in (("gallery", protocol.gallery), ("query", protocol.queries)):
            for picture in pictures:
                splits.setdefault(picture.key, _Listed(picture, "test" if both else side))
    for picture in read_training_pictures(data, root):
        splits.setdefault(picture.key, _Listed(picture, "train"))
    return list(splits.values())


def _take_fingerprints(listed: Sequence[_Listed], threads: int) -> Iterator[Fingerprint | str]:
    """Each picture's fingerprint, or why there is none, in order, some ahead of who asks."""
    with ThreadPoolExecutor(threads) as pool:
        remaining = iter(listed)
        while block := list(islice(remaining, _AHEAD * threads)):
            yield from pool.map(_take, block)


def _take(one: _Listed) -> Fingerprint | str:
    limits = ImageLimits()
    try:
        return take_fingerprint(read_bytes(one.picture.path, limits), limits)
    except ImageError as error:
        return error.reason


def _find_small(listed: Iterable[_Listed]) -> Iterator[SmallClass]:
    """Training classes of one picture, and queries whose class the gallery lacks."""
    counts = Counter((one.split, str(one.picture.label)) for one in listed)
    for (split, label), count in sorted(counts.items()):
        lonely = count == 1 and split != "query" and not (split == "gallery" and counts["query", label])
        unmatched = split == "query" and not counts["gallery", label]
        if lonely or unmatched:
            yield SmallClass(label, split, count)


def _find_equal(whole: Sequence[tuple[_Listed, Fingerprint]]) -> Iterator[Copies]:
    """Files that are byte for byte the same, and other files with the same pixels."""
    groups: dict[str, list[tuple[_Listed, Fingerprint]]] = defaultdict(list)
    for one, found in whole:
        groups[found.pixels].append((one, found))
    for group in groups.values():
        if len(group) > 1:
            kind = "bytes" if len({found.content for _, found in group}) == 1 else "pixels"
            yield _name(kind, [one for one, _ in group])


def _find_near(whole: Sequence[tuple[_Listed, Fingerprint]]) -> Iterator[Copies]:
    """Pairs that look the same, across splits or under different labels; the first of equal pictures stands for all."""
    distinct = list({found.pixels: (one, found) for one, found in reversed(whole)}.values())[::-1]
    return islice(_pair(distinct), MOST)


def _pair(distinct: Sequence[tuple[_Listed, Fingerprint]]) -> Iterator[Copies]:
    if not distinct:
        return
    points = to_points([found for _, found in distinct])
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    for start in range(0, len(points), _AT_ONCE):
        limits, _, places = index.range_search(points[start : start + _AT_ONCE], RADIUS**2 * points.shape[1])
        for row in range(len(limits) - 1):
            first, mine = distinct[start + row]
            for place in np.sort(places[limits[row] : limits[row + 1]]):
                other, theirs = distinct[place]
                apart = first.split != other.split or first.picture.label != other.picture.label
                if place > start + row and apart and is_same_look(mine, theirs):
                    yield _name("near", [first, other])


def _name(kind: str, group: Sequence[_Listed]) -> Copies:
    return Copies(
        kind,
        tuple(one.picture.key for one in group),
        tuple(str(one.picture.label) for one in group),
        tuple(one.split for one in group),
    )
