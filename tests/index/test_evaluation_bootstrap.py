"""Intervals over classes: against what theory gives, wider than over queries, paired, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from index.errors import UsageError
from index.evaluation import BootstrapPlan, bootstrap_difference, bootstrap_mean
from index.evaluation import bootstrap as module


def test_one_query_a_class_gives_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    interval = bootstrap_mean(values, np.arange(400), BootstrapPlan(draws=5000))
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_queries_of_a_class_that_rise_and_fall_together_widen_it() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=40), 25)
    by_class = bootstrap_mean(values, np.repeat(np.arange(40), 25))
    by_query = bootstrap_mean(values, np.arange(1000))
    assert (by_class.high - by_class.low) > 4 * (by_query.high - by_query.low)


def test_a_class_counts_with_all_its_queries() -> None:
    """Two classes, of 1 and 9 queries: a draw has one twice or both, so a mean is 0, 0.9 or 1, as often as 1, 2, 1."""
    values, labels = np.array([0.0] + [1.0] * 9), np.array([7] + [3] * 9)
    means = module._draw_means(values, labels, BootstrapPlan(draws=4000))
    found = [np.isclose(means, value).mean() for value in (0.0, 0.9, 1.0)]
    assert found == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_pairs_are_drawn_together() -> None:
    random = np.random.default_rng(2)
    first = random.normal(0, 5, 300)
    second = first + 0.1 + random.normal(0, 0.01, 300)
    interval = bootstrap_difference(first, second, np.repeat(np.arange(100), 3))
    assert 0.09 < interval.low < 0.1 < interval.high < 0.11


def test_the_seed_decides_and_blocks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = np.random.default_rng(3).random(60), np.arange(60) // 4
    assert bootstrap_mean(values, labels) == bootstrap_mean(values, labels)
    assert bootstrap_mean(values, labels) != bootstrap_mean(values, labels, BootstrapPlan(seed=1))
    whole = bootstrap_mean(values, labels)
    monkeypatch.setattr(module, "_AT_ONCE", 40)
    again = bootstrap_mean(values, labels)
    assert (again.low, again.high) == pytest.approx((whole.low, whole.high), rel=1e-12)  # BLAS rounds


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match="a figure and a label"):
        bootstrap_mean([1.0, 2.0], np.arange(3))
    with pytest.raises(UsageError, match="a figure and a label"):
        bootstrap_mean([], np.arange(0))
    with pytest.raises(UsageError, match="not the same queries"):
        bootstrap_difference([1.0], [1.0, 2.0], np.arange(2))
    with pytest.raises(UsageError, match="no such interval"):
        BootstrapPlan(level=1.0)
