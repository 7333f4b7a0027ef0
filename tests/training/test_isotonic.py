from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.isotonic import MOST_BINS, Answers, fit_knots, pool_adjacent_violators

Rows = list[tuple[float, float]]
values_and_weights = st.lists(st.tuples(st.floats(-10, 10), st.floats(0.1, 10)), min_size=1, max_size=30)


def brute_force(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The max-min formula: max over i <= k of min over j >= k of the weighted mean of i..j."""
    n = len(values)
    means = np.full((n, n), np.inf)
    for i in range(n):
        for j in range(i, n):
            means[i, j] = np.average(values[i : j + 1], weights=weights[i : j + 1])
    return np.array([max(means[i, k:].min() for i in range(k + 1)) for k in range(n)])


@given(values_and_weights)
def test_pooling_gives_the_least_squares_rising_values(rows: Rows) -> None:
    values, weights = np.array(rows, np.float64).T
    np.testing.assert_allclose(pool_adjacent_violators(values, weights), brute_force(values, weights), atol=1e-9)


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.booleans(), st.integers(1, 5)), min_size=2, max_size=300).filter(
        lambda rows: len({score for score, _, _ in rows}) > 1
    )
)
def test_knots_rise_and_are_never_certain(rows: list[tuple[int, bool, int]]) -> None:
    scores, right, weights = (np.array(column) for column in zip(*rows, strict=True))
    try:
        knots = fit_knots(Answers(scores / 20, right, weights.astype(np.float64)))
    except ValueError:  # equal scores fill all but the last bin
        return
    assert 2 <= len(knots) <= MOST_BINS
    for (score, probability), (next_score, next_probability) in pairwise(knots):
        assert score < next_score
        assert 0 < probability <= next_probability < 1


def test_a_known_line_is_found_again() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(0, 1, 20_000)
    knots = fit_knots(Answers(scores, random.uniform(0, 1, 20_000) < scores, np.ones(20_000)))
    for score, probability in knots:
        assert probability == pytest.approx(score, abs=0.05)


def test_equal_scores_make_no_line() -> None:
    with pytest.raises(ValueError, match="all scores are equal"):
        fit_knots(Answers(np.full(50, 0.5), np.ones(50, np.bool_), np.ones(50)))
