"""Retrieval figures from labelled unit vectors: recall@k, R-precision and MAP@R. Pure: no files, no model, no clock.

R-precision and MAP@R are those of Musgrave, Belongie and Lim, "A Metric Learning Reality Check" (ECCV 2020). A
query is excluded from its own neighbours by its id, never by its position, which ties and copies corrupt.
What may change here: more figures, each computed from the same neighbours. What may not: those that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from index.errors import UsageError, VectorError
from index.exact_search import NeighbourSearch, search_exact
from index.types import Ids, Vectors, check_unit_vectors

KS = (1, 2, 4, 8, 10)
_QUERIES_AT_ONCE = 4096  # searched and judged at a time
_NEIGHBOURS_AT_ONCE = 2**22  # cells of (queries, neighbours) judged at a time: about 200 MB, temporaries included


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Unit vectors (n, d) float32, with a label (n,) int64 and an id (n,) int64 each; an id is one picture."""

    vectors: Vectors
    labels: Ids
    ids: Ids

    def __post_init__(self) -> None:
        """Raises VectorError for vectors that are not finite unit vectors, UsageError for labels or ids."""
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            raise VectorError(
                "not an array of vectors",
                expected="(n, d) float32",
                found=f"{self.vectors.shape} {self.vectors.dtype}",
            )
        for name, values in (("labels", self.labels), ("ids", self.ids)):
            if values.shape != self.vectors.shape[:1] or values.dtype != np.int64:
                raise UsageError(
                    f"the {name} do not fit the vectors",
                    expected=f"({len(self.vectors)},) int64",
                    found=f"{values.shape} {values.dtype}",
                )
        if len(np.unique(self.ids)) != len(self.ids):
            raise UsageError("an id is there twice", expected="each picture once")
        check_unit_vectors(self.vectors)


@dataclass(frozen=True, eq=False)
class QueryFigures:
    """What each query that has a match scored, in the order of the queries; m = queries - queries_without_match."""

    ids: Ids  # (m,)
    labels: Ids  # (m,)
    first_match: Ids  # (m,) rank of the first neighbour of the same class, from 1; 0 if it was not reached
    average_precision: NDArray[np.float64]  # (m,) average precision at R
    r_precision: NDArray[np.float64]  # (m,)

    def recall(self, k: int) -> float:
        """Fraction of the queries with a match among their k nearest; k at most the largest that was asked for."""
        return float(np.mean((self.first_match >= 1) & (self.first_match <= k)))


@dataclass(frozen=True)
class Figures:
    """Fractions, averaged over the queries that have a match in the gallery."""

    queries: int  # all of them
    gallery: int
    queries_without_match: int  # left out of the averages
    recall: dict[int, float]  # k -> recall@k
    map_at_r: float
    r_precision: float
    per_query: QueryFigures = field(repr=False, compare=False)


def evaluate(
    queries: LabelledVectors,
    gallery: LabelledVectors,
    ks: tuple[int, ...] = KS,
    search: NeighbourSearch = search_exact,
) -> Figures:
    """Recall@k for each of `ks`, MAP@R and R-precision of `queries` among `gallery`, which share their ids and labels.

    R is the number of gallery pictures of the query's class, itself excluded. With rel(i) = 1 if neighbour i is of
    the query's class and P(i) the fraction of such among the first i:

        recall@k = 1 if any of rel(1..k) else 0     R-precision = P(R)     MAP@R = 1/R sum_{i=1..R} P(i) rel(i)

    averaged over the queries with R > 0.

    Raises UsageError if no query has a match or a k is below 1, VectorError if the vectors differ in size.
    """
    _check_question(queries, gallery, ks)
    own = _find_own(queries.ids, gallery.ids)
    relevant = _count_relevant(queries, gallery, own)
    matched = np.flatnonzero(relevant)
    if not matched.size:
        raise UsageError(
            "nothing to evaluate: no query has another picture of its class in the gallery",
            found=f"{len(queries.ids)} queries, {len(gallery.ids)} gallery pictures",
        )
    # One neighbour more than needed, since the query itself may be among them.
    reach = min(max(*ks, int(relevant.max())) + 1, len(gallery.ids))
    blocks = []
    for rows in _split(matched, reach):
        _, neighbours = search(queries.vectors[rows], gallery.vectors, reach)  # (b, reach)
        same_class = gallery.labels[neighbours] == queries.labels[rows, None]
        blocks.append(_judge(same_class, neighbours == own[rows, None], relevant[rows]))
    judged = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    per_query = QueryFigures(queries.ids[matched], queries.labels[matched], *judged)
    return Figures(
        queries=len(queries.ids),
        gallery=len(gallery.ids),
        queries_without_match=len(queries.ids) - len(matched),
        recall={k: per_query.recall(k) for k in ks},
        map_at_r=float(per_query.average_precision.mean()),
        r_precision=float(per_query.r_precision.mean()),
        per_query=per_query,
    )


def _check_question(queries: LabelledVectors, gallery: LabelledVectors, ks: tuple[int, ...]) -> None:
    if not ks or min(ks) < 1:
        raise UsageError("recall@k needs k of at least 1", found=ks)
    if queries.vectors.shape[1] != gallery.vectors.shape[1]:
        raise VectorError(
            "queries and gallery differ in vector size",
            expected=queries.vectors.shape[1],
            found=gallery.vectors.shape[1],
        )


def _split(rows: Ids, reach: int) -> Iterator[Ids]:
    """`rows` in blocks whose neighbours fit the memory that is set aside for them."""
    size = max(1, min(_QUERIES_AT_ONCE, _NEIGHBOURS_AT_ONCE // reach))
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _find_own(query_ids: Ids, gallery_ids: Ids) -> Ids:
    """(q,) the position of each query's own picture in the gallery, -1 where it is not there."""
    order = np.argsort(gallery_ids)
    places = np.searchsorted(gallery_ids, query_ids, sorter=order)
    own = np.full(len(query_ids), -1, np.int64)
    inside = np.flatnonzero(places < len(order))
    candidates = order[places[inside]]
    same = gallery_ids[candidates] == query_ids[inside]
    own[inside[same]] = candidates[same]
    return own


def _count_relevant(queries: LabelledVectors, gallery: LabelledVectors, own: Ids) -> Ids:
    """(q,) R: gallery pictures of the query's class, the query itself excluded."""
    ordered = np.sort(gallery.labels)
    found = np.searchsorted(ordered, queries.labels, "right") - np.searchsorted(ordered, queries.labels, "left")
    listed = np.flatnonzero(own >= 0)
    found[listed] -= gallery.labels[own[listed]] == queries.labels[listed]
    return found.astype(np.int64)


def _judge(
    same_class: NDArray[np.bool_], itself: NDArray[np.bool_], relevant: Ids
) -> tuple[Ids, NDArray[np.float64], NDArray[np.float64]]:
    """First match, average precision and R-precision, (b,) each, of neighbours (b, k), best first."""
    right = same_class & ~itself
    ranks = np.cumsum(~itself, axis=1, dtype=np.int32)  # (b, k) from 1; the query itself takes no rank
    found = np.cumsum(right, axis=1, dtype=np.int32)  # right ones so far
    first = np.take_along_axis(ranks, right.argmax(axis=1)[:, None], axis=1)[:, 0]
    counted = right & (ranks <= relevant[:, None])
    precision = np.divide(found, ranks, where=counted, out=np.zeros(ranks.shape))
    return (
        np.where(right.any(axis=1), first, 0).astype(np.int64),
        precision.sum(axis=1) / relevant,
        counted.sum(axis=1) / relevant,
    )
