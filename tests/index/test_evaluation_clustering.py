"""NMI and AMI against scikit-learn's, on partitions of every shape, and k-means on clusters that lie apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from index.errors import UsageError
from index.evaluation import (
    adjusted_mutual_information,
    cluster_vectors,
    evaluate_clustering,
    normalised_mutual_information,
)
from index.evaluation import clustering as module

PAIRS = st.lists(st.tuples(st.integers(-3, 6), st.integers(0, 4)), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs=PAIRS)
def test_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, np.int64).T
    assert normalised_mutual_information(first, second) == pytest.approx(
        normalized_mutual_info_score(first, second), abs=1e-9
    )
    groups = {len(set(first.tolist())), len(set(second.tolist()))}
    if groups != {len(first)}:  # each its own group in both: scikit-learn divides rounding by rounding
        expected = adjusted_mutual_info_score(first, second)
        assert adjusted_mutual_information(first, second) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("cells", [2**22, 7])
def test_equals_scikit_learn_on_many_groups(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", cells)  # a few sizes at a time
    random = np.random.default_rng(0)
    first = random.integers(0, 150, 3000)
    second = np.where(random.random(3000) < 0.7, first, random.zipf(1.6, 3000).clip(max=200))
    assert adjusted_mutual_information(first, second) == pytest.approx(
        adjusted_mutual_info_score(first, second), abs=1e-9
    )
    assert normalised_mutual_information(first, second) == pytest.approx(normalized_mutual_info_score(first, second))


def test_what_chance_gives() -> None:
    """Many small groups drawn at random: NMI is far above 0 for nothing, AMI is not."""
    random = np.random.default_rng(1)
    first, second = random.integers(0, 400, (2, 1000))
    assert normalised_mutual_information(first, second) > 0.7
    assert abs(adjusted_mutual_information(first, second)) < 0.05


def test_clusters_that_lie_apart_are_found_and_the_seed_decides() -> None:
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(5), 20)
    vectors = (np.eye(8)[labels] + random.normal(0, 0.02, (100, 8))).astype(np.float32)
    figures = evaluate_clustering(vectors, labels, seeds=(0, 1, 2), clusters=5)
    assert figures.clusters == 5
    assert max(figures.nmi_by_seed) == pytest.approx(1.0)
    assert figures.nmi == pytest.approx(np.mean(figures.nmi_by_seed))
    assert figures.ami == pytest.approx(np.mean(figures.ami_by_seed))
    noise = random.normal(size=(300, 8)).astype(np.float32)
    np.testing.assert_array_equal(cluster_vectors(noise, 9, 4), cluster_vectors(noise, 9, 4))
    assert (cluster_vectors(noise, 9, 4) != cluster_vectors(noise, 9, 5)).any()


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match="expected 1 to 3, found 4"):
        cluster_vectors(np.eye(3, dtype=np.float32), 4)
    with pytest.raises(UsageError, match="needs a seed"):
        evaluate_clustering(np.eye(3, dtype=np.float32), np.arange(3), seeds=())
    with pytest.raises(UsageError, match="not two partitions"):
        normalised_mutual_information(np.arange(3), np.arange(4))
