"""What is asked for: pictures and items that results should resemble, and those that they should not.

Two strategies put several of them together. `average`: one vector, the unit mean of the positives, moved away from
the unit mean of the negatives by half its length: the arithmetic of Qdrant's `average_vector` (2p - n), on unit means.
`best`: an item scores by the positive that it is nearest to, and is left out where a negative is nearer still.
What may change here: further strategies. Pure functions of vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from index.errors import UsageError, VectorError
from index.types import Vectors, check_unit_vectors, unit_vectors

NEGATIVE_WEIGHT = 0.5  # of the negatives' unit mean beside the positives'


MAX_K = 1000  # results a page
MAX_DEPTH = 10_000  # results of one question, over all its pages


@dataclass(frozen=True)
class Bounds:
    """What may be among the results."""

    min_score: float | None = None  # cosine below which items are left out
    exclude: frozenset[int] = frozenset()  # ids of items that are left out
    min_probability: float | None = None  # below which items are left out; the model has to be calibrated


@dataclass(frozen=True)
class Page:
    """Which of the results: `k` of them, after the last one of the page that `cursor` came with."""

    k: int = 10
    cursor: str | None = None


class Strategy(Enum):
    """How several pictures become one question."""

    AVERAGE = "average"
    BEST = "best"


def parse_strategy(text: str) -> Strategy:
    """A strategy by its name. Raises UsageError."""
    try:
        return Strategy(text)
    except ValueError as error:
        names = " or ".join(strategy.value for strategy in Strategy)
        raise UsageError("no such strategy", expected=names, found=repr(text[:60])) from error


@dataclass(frozen=True, eq=False)
class Query:
    """Unit vectors (d,) that `model` (an id) made, and ids of items: what to be near to, and what to be far from."""

    positives: tuple[Vectors, ...] = ()
    negatives: tuple[Vectors, ...] = ()
    positive_ids: tuple[int, ...] = ()
    negative_ids: tuple[int, ...] = ()
    strategy: Strategy = Strategy.AVERAGE
    model: str | None = None  # None: there are only ids

    @property
    def ids(self) -> frozenset[int]:
        """The items that it names, which are no answers to it."""
        return frozenset(self.positive_ids + self.negative_ids)


@dataclass(frozen=True, eq=False)
class Probes:
    """What candidates are scored by: the best cosine with `towards` (p, d), and only where all of `away` are lower."""

    towards: Vectors
    away: Vectors  # (n, d)
    moved: bool = False  # a negative moved the vector: its scores are not those that a calibration is about

    def digest(self) -> bytes:
        """SHA-256 over the vectors."""
        parts = b"".join(np.ascontiguousarray(rows).tobytes() for rows in (self.towards, self.away))
        return hashlib.sha256(len(self.towards).to_bytes(4, "little") + parts).digest()


def make_probes(positives: Sequence[Vectors], negatives: Sequence[Vectors], strategy: Strategy, size: int) -> Probes:
    """Unit vectors (d,) with d = `size` -> probes. Raises UsageError without a positive, and VectorError."""
    if not positives:
        raise UsageError(
            "nothing to search by", expected="at least one picture or item to be near to", found="none of either"
        )
    for vector in (*positives, *negatives):
        if vector.shape != (size,):
            raise VectorError("wrong size", expected=f"({size},)", found=vector.shape)
    check_unit_vectors(np.stack([*positives, *negatives]))
    if strategy is Strategy.BEST:
        away = np.stack(negatives) if negatives else np.empty((0, size), np.float32)
        return Probes(np.stack(positives), away)
    combined = combine_average(positives, negatives)
    return Probes(combined[None], np.empty((0, size), np.float32), moved=bool(negatives))


def combine_views(vectors: Sequence[Vectors]) -> Vectors:
    """(d,) the unit vector of the mean of unit vectors (d,) each. Raises VectorError if they cancel out."""
    if len(vectors) == 1:
        return vectors[0]
    mean: Vectors = unit_vectors(np.mean(vectors, axis=0, keepdims=True))[0]
    return mean


def combine_average(positives: Sequence[Vectors], negatives: Sequence[Vectors]) -> Vectors:
    """(d,) unit(p - w n), where p and n are the unit means and w = 0.5. Raises VectorError where a mean cancels out."""
    near = combine_views(positives)
    if not negatives:
        return near
    moved = near.astype(np.float64) - NEGATIVE_WEIGHT * combine_views(negatives).astype(np.float64)
    combined: Vectors = unit_vectors(moved[None])[0]
    return combined
