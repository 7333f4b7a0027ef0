"""How well k-means over the vectors gives the classes back: normalised and adjusted mutual information.

NMI divides by the arithmetic mean of the two entropies, as scikit-learn does since 0.22. AMI also takes off what
chance gives (Vinh, Epps and Bailey, "Information Theoretic Measures for Clusterings Comparison", JMLR 2010), which
NMI with many classes gets for nothing. What may change here: more figures. Not: that a seed gives the same clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from index.errors import UsageError
from index.types import Ids, Vectors

_ITERATIONS = 20
_CELLS = 2**22  # of the sum over pairs of cluster sizes, at a time
_LEAST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ClusteringFigures:
    """Means over the seeds, and each seed's own."""

    clusters: int
    nmi: float
    ami: float
    nmi_by_seed: tuple[float, ...]
    ami_by_seed: tuple[float, ...]


def evaluate_clustering(
    vectors: Vectors, labels: Ids, seeds: Sequence[int] = (0,), clusters: int | None = None
) -> ClusteringFigures:
    """NMI and AMI of `labels` (n,) against k-means over `vectors` (n, d) float32, a run a seed.

    As many clusters as there are classes, unless `clusters` says otherwise. Raises UsageError for no seed, or for
    more clusters than vectors.
    """
    if not seeds:
        raise UsageError("clustering needs a seed")
    count = clusters or len(np.unique(labels))
    found = [cluster_vectors(vectors, count, seed) for seed in seeds]
    nmi = tuple(normalised_mutual_information(labels, groups) for groups in found)
    ami = tuple(adjusted_mutual_information(labels, groups) for groups in found)
    return ClusteringFigures(count, float(np.mean(nmi)), float(np.mean(ami)), nmi, ami)


def cluster_vectors(vectors: Vectors, clusters: int, seed: int = 0) -> Ids:
    """(n,) int64 the cluster of each of (n, d) float32, by FAISS's k-means with Euclidean distance."""
    if not 1 <= clusters <= len(vectors):
        raise UsageError("so many clusters can not be made", expected=f"1 to {len(vectors)}", found=clusters)
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    means = faiss.Kmeans(
        rows.shape[1],
        clusters,
        niter=_ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,  # a class may have two pictures
        max_points_per_centroid=len(rows),  # every vector counts
    )
    means.train(rows)
    _, nearest = means.index.search(rows, 1)
    return np.asarray(nearest[:, 0], dtype=np.int64)


def normalised_mutual_information(first: Ids, second: Ids) -> float:
    """2 I(A; B) / (H(A) + H(B)) of two partitions (n,), 0..1; 1 where both have one group."""
    table = _Contingency.count(first, second)
    if table.is_trivial:
        return 1.0
    information = table.information()
    return 0.0 if information <= _LEAST else information / table.mean_entropy()


def adjusted_mutual_information(first: Ids, second: Ids) -> float:
    """(I - E[I]) / (mean(H(A), H(B)) - E[I]) of two partitions (n,): 1 where they are the same, about 0 by chance."""
    table = _Contingency.count(first, second)
    if table.is_trivial:
        return 1.0
    expected = _expect_information(table.rows, table.columns)
    spread = table.mean_entropy() - expected
    spread = min(spread, -_LEAST) if spread < 0 else max(spread, _LEAST)
    return float((table.information() - expected) / spread)


@dataclass(frozen=True, eq=False)
class _Contingency:
    """How many of n are in group i of the one partition and group j of the other; empty cells left out."""

    rows: Ids  # (r,) sizes of the groups
    columns: Ids  # (c,)
    row: Ids  # (m,) which groups a cell is of
    column: Ids  # (m,)
    cells: Ids  # (m,) how many are in it

    @classmethod
    def count(cls, first: Ids, second: Ids) -> _Contingency:
        if first.shape != second.shape or first.ndim != 1 or not first.size:
            raise UsageError("not two partitions of the same", expected=first.shape, found=second.shape)
        _, rows = np.unique(first, return_inverse=True)
        _, columns = np.unique(second, return_inverse=True)
        pairs, cells = np.unique(rows * (columns.max() + 1) + columns, return_counts=True)
        return cls(np.bincount(rows), np.bincount(columns), *np.divmod(pairs, columns.max() + 1), cells)

    @property
    def is_trivial(self) -> bool:
        """One group each, or each its own group in both: nothing to tell, and nothing told wrongly."""
        whole = int(self.rows.sum())
        return len(self.rows) == len(self.columns) == 1 or len(self.rows) == len(self.columns) == whole

    def information(self) -> float:
        """I(A; B) in nats."""
        total = self.rows.sum()
        shares = self.cells / total
        ratio = np.log(self.cells) + np.log(total) - np.log(self.rows[self.row]) - np.log(self.columns[self.column])
        return max(0.0, float((shares * ratio).sum()))

    def mean_entropy(self) -> float:
        return (_entropy(self.rows) + _entropy(self.columns)) / 2


def _entropy(sizes: Ids) -> float:
    """In nats."""
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def _expect_information(rows: Ids, columns: Ids) -> float:
    """E[I] over all pairs of partitions with these group sizes, n elements: equation 24a of Vinh et al.

    Groups of one size give one term, so the sum runs over distinct sizes, of which there are few.
    """
    total = int(rows.sum())
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, total + 1)))))  # log k! for k = 0..n
    sizes, times = np.unique(columns, return_counts=True)
    return float(
        sum(
            count * (times * _expect_cells(int(size), sizes, factorials)).sum()
            for size, count in zip(*np.unique(rows, return_counts=True), strict=True)
        )
    )


def _expect_cells(size: int, others: Ids, factorials: NDArray[np.float64]) -> NDArray[np.float64]:
    """(s,) what a group of `size` and one of each of `others` (s,) add to E[I]: a hypergeometric mean."""
    total = len(factorials) - 1
    widest = min(size, int(others.max()))
    step = max(1, _CELLS // widest)
    parts = []
    for start in range(0, len(others), step):
        b = others[start : start + step, None]  # (s, 1)
        shared = np.arange(1, widest + 1)[None, :]  # (1, w) how many the two groups have in common
        possible = (shared <= b) & (shared >= size + b - total)
        n = np.where(possible, shared, np.maximum(1, size + b - total))  # a value that is possible, to be left out
        log_chance = (
            factorials[size] + factorials[b] + factorials[total - size] + factorials[total - b]
            - factorials[total] - factorials[n] - factorials[size - n] - factorials[b - n]
            - factorials[total - size - b + n]
        )  # fmt: skip
        gain = n / total * (np.log(total) + np.log(n) - np.log(size) - np.log(b))
        parts.append(np.where(possible, gain * np.exp(log_chance), 0.0).sum(axis=1))
    return np.concatenate(parts)
