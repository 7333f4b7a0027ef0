"""A rising line of few knots through many right or wrong answers: isotonic regression on bins of equal weight.

Pool adjacent violators, after Barlow, Bartholomew, Bremner and Brunk, "Statistical Inference under Order
Restrictions" (1972). Why not scikit-learn's: decision 0028. What may change here: how many bins. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_BINS = 20
LEAST_IN_A_BIN = 20  # answers: their frequency is then known to about a tenth


@dataclass(frozen=True, eq=False)
class Answers:
    """Scores (n,) float64, whether each answer was right (n,) bool, and its weight (n,) float64."""

    scores: Floats
    right: NDArray[np.bool_]
    weights: Floats

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Answers:
        """Some of them."""
        return Answers(self.scores[rows], self.right[rows], self.weights[rows])


def fit_knots(answers: Answers) -> tuple[tuple[float, float], ...]:
    """Knots (score, probability), scores rising, probabilities never falling, none 0 or 1.

    Each bin counts as if it held one right and one wrong answer more than it does (the rule of succession), so that
    no finite number of answers makes certainty. Raises ValueError where all scores are equal.
    """
    scores, frequencies, weights = _bin(answers)
    if len(scores) < 2:
        raise ValueError("all scores are equal")
    return _thin(scores, pool_adjacent_violators(frequencies, weights))


def _bin(answers: Answers) -> tuple[Floats, Floats, Floats]:
    """Mean score, smoothed frequency of right answers, and weight of each bin; equal scores are in one bin."""
    count = int(np.clip(len(answers.scores) // LEAST_IN_A_BIN, 2, MOST_BINS))
    order = np.argsort(answers.scores, kind="stable")
    ordered = answers.take(order)
    before = np.cumsum(ordered.weights) - ordered.weights / 2
    bins = np.minimum((count * before / ordered.weights.sum()).astype(np.int64), count - 1)
    bins = bins[np.searchsorted(ordered.scores, ordered.scores)]  # an equal score goes where the first one went
    _, bins = np.unique(bins, return_inverse=True)
    weights: Floats = np.bincount(bins, ordered.weights).astype(np.float64)
    answered = np.bincount(bins)
    right, scores = (np.bincount(bins, ordered.weights * of) / weights for of in (ordered.right, ordered.scores))
    return scores, (right * answered + 1) / (answered + 2), weights


def pool_adjacent_violators(values: Floats, weights: Floats) -> Floats:
    """(n,) the never falling values with the least weighted squared distance to `values` (n,)."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(values, weights, strict=True):
        mean, total, length = float(value), float(weight), 1
        while blocks and blocks[-1][0] > mean:
            other, other_total, other_length = blocks.pop()
            mean = (mean * total + other * other_total) / (total + other_total)
            total, length = total + other_total, length + other_length
        blocks.append((mean, total, length))
    return np.concatenate([np.full(length, mean) for mean, _, length in blocks])


def _thin(scores: Floats, values: Floats) -> tuple[tuple[float, float], ...]:
    """The knots without those in the middle of a flat piece."""
    flat = (values[:-2] == values[1:-1]) & (values[1:-1] == values[2:])
    kept = np.concatenate(([True], ~flat, [True])) if len(values) > 2 else np.ones(len(values), np.bool_)
    return tuple((float(s), float(v)) for s, v in zip(scores[kept], values[kept], strict=True))
