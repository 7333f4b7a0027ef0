"""How far a mean over queries could have come out otherwise: a percentile bootstrap that draws whole classes.

Queries of a class rise and fall together, so classes are drawn, with replacement, each with all its queries; drawing
queries would give intervals that are too narrow (a cluster bootstrap: Davison and Hinkley, "Bootstrap Methods and
their Application", 1997, section 3.8). What may change here: more kinds of interval. Not: what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import UsageError
from index.types import Ids

_AT_ONCE = 2**22  # cells of (draws, classes) at a time: 32 MB


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies with probability `level`."""

    mean: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class BootstrapPlan:
    """How often classes are drawn, from which seed, for an interval of which level."""

    draws: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError for a plan without sense."""
        if self.draws < 1 or not 0 < self.level < 1:
            raise UsageError(
                "no such interval", expected="draws of at least 1, a level in 0..1", found=f"{self.draws}, {self.level}"
            )


DEFAULT_PLAN = BootstrapPlan()


def bootstrap_mean(values: ArrayLike, labels: Ids, plan: BootstrapPlan = DEFAULT_PLAN) -> Interval:
    """The mean of `values` (m,), a figure of each query, and its interval.

    `labels` (m,): each query's class. Of several runs, average a query's figures over the runs first. Raises
    UsageError where the two do not fit or are empty.
    """
    figures = np.asarray(values, dtype=np.float64)
    if figures.ndim != 1 or not figures.size or labels.shape != figures.shape:
        raise UsageError(
            "a figure and a label for each query are needed",
            expected="(m,) both",
            found=f"{figures.shape}, {labels.shape}",
        )
    means = _draw_means(figures, labels, plan)
    low, high = np.quantile(means, [(1 - plan.level) / 2, (1 + plan.level) / 2])
    return Interval(float(figures.mean()), float(low), float(high), plan.level)


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, labels: Ids, plan: BootstrapPlan = DEFAULT_PLAN
) -> Interval:
    """The mean of `second` - `first`, two models' figures of the same queries (m,), paired: each draw takes both.

    Raises UsageError as `bootstrap_mean`, and where the two are not as long.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise UsageError("not the same queries", expected=f"{before.shape} figures", found=after.shape)
    return bootstrap_mean(after - before, labels, plan)


def _draw_means(values: NDArray[np.float64], labels: Ids, plan: BootstrapPlan) -> NDArray[np.float64]:
    """(draws,) means over the queries of as many classes as there are, drawn with replacement."""
    _, numbers = np.unique(labels, return_inverse=True)
    sizes = np.bincount(numbers).astype(np.float64)  # (c,)
    sums = np.bincount(numbers, weights=values)  # (c,)
    random, classes = np.random.default_rng(plan.seed), len(sizes)
    shares, block = np.full(classes, 1 / classes), max(1, _AT_ONCE // classes)
    means = []
    for start in range(0, plan.draws, block):
        drawn = random.multinomial(classes, shares, size=min(block, plan.draws - start))  # (b, c) times each was drawn
        means.append((drawn @ sums) / (drawn @ sizes))
    return np.concatenate(means)
