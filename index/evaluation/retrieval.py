"""Retrieval figures from labelled vectors: recall@k (CMC), P@1, R-precision, MAP@R and mAP.

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
    """Vectors (n, d) float32, with a label (n,) int64 and an id (n,) int64 each; an id is one picture.

    `unit`: they must be of length 1, as cosine needs; without it any finite ones will do, for Euclidean distance.
    """

    vectors: Vectors
    labels: Ids
    ids: Ids
    unit: bool = True

    def __post_init__(self) -> None:
        """Raises VectorError for vectors that are not finite, or not unit vectors; UsageError for labels or ids."""
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
        if self.unit:
            check_unit_vectors(self.vectors)
        elif not np.isfinite(self.vectors).all():
            raise VectorError("a vector is not finite", where=f"row {np.argmin(np.isfinite(self.vectors).all(axis=1))}")


@dataclass(frozen=True)
class Question:
    """What is asked: recall at each of `ks`; `full`: mAP too, which sorts the whole gallery; `ranks` of a CMC curve."""

    ks: tuple[int, ...] = KS
    full: bool = False
    ranks: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError for a k below 1."""
        if not self.ks or min(self.ks) < 1:
            raise UsageError("recall@k needs k of at least 1", found=self.ks)


@dataclass(frozen=True)
class Summary:
    """Fractions, averaged over some queries that have a match in the gallery."""

    queries: int  # averaged over
    recall: dict[int, float]  # k -> recall@k
    map_at_r: float
    r_precision: float
    mean_average_precision: float | None  # None where it was not asked for

    @property
    def precision_at_1(self) -> float | None:
        """P@1, which is recall@1; None where 1 is none of the ks."""
        return self.recall.get(1)


@dataclass(frozen=True, eq=False)
class QueryFigures:
    """What each query that has a match scored, in the order of the queries; m = queries - queries_without_match."""

    ids: Ids  # (m,)
    labels: Ids  # (m,)
    first_match: Ids  # (m,) rank of the first neighbour of the same class, from 1; 0 if it was not reached
    average_precision: NDArray[np.float64]  # (m,) average precision at R
    r_precision: NDArray[np.float64]  # (m,)
    full_average_precision: NDArray[np.float64] | None = None  # (m,) over the whole ranking

    def recall(self, k: int) -> float:
        """Fraction of the queries with a match among their k nearest; k at most the largest that was asked for."""
        return float(self.is_matched(k).mean())

    def is_matched(self, k: int) -> NDArray[np.bool_]:
        """(m,) whether each query has a match among its k nearest."""
        return (self.first_match >= 1) & (self.first_match <= k)

    def match_curve(self, ranks: int) -> NDArray[np.float64]:
        """(ranks,) recall@1 to recall@ranks: the cumulative match characteristic (CMC); `ranks` as for `recall`."""
        counts = np.bincount(self.first_match[self.is_matched(ranks)], minlength=ranks + 1)[1:]
        return np.asarray(np.cumsum(counts) / len(self.first_match))

    def select(self, chosen: NDArray[np.bool_]) -> QueryFigures:
        """Those of the queries where `chosen` (m,) is true."""
        full = self.full_average_precision
        return QueryFigures(
            ids=self.ids[chosen],
            labels=self.labels[chosen],
            first_match=self.first_match[chosen],
            average_precision=self.average_precision[chosen],
            r_precision=self.r_precision[chosen],
            full_average_precision=None if full is None else full[chosen],
        )

    def summarise(self, ks: tuple[int, ...]) -> Summary:
        """The means. Raises UsageError where there is no query."""
        if not self.ids.size:
            raise UsageError("no query to average over")
        full = self.full_average_precision
        return Summary(
            queries=len(self.ids),
            recall={k: self.recall(k) for k in ks},
            map_at_r=float(self.average_precision.mean()),
            r_precision=float(self.r_precision.mean()),
            mean_average_precision=None if full is None else float(full.mean()),
        )


@dataclass(frozen=True)
class Figures:
    """Fractions, averaged over the queries that have a match in the gallery."""

    queries: int  # all of them
    gallery: int
    queries_without_match: int  # left out of the averages
    recall: dict[int, float]  # k -> recall@k
    map_at_r: float
    r_precision: float
    mean_average_precision: float | None = None  # None where it was not asked for
    per_query: QueryFigures = field(kw_only=True, repr=False, compare=False)


def evaluate(
    queries: LabelledVectors,
    gallery: LabelledVectors,
    ks: tuple[int, ...] | Question = KS,
    search: NeighbourSearch = search_exact,
) -> Figures:
    """Recall@k, MAP@R, R-precision and, if asked, mAP of `queries` among `gallery`, which share their ids and labels.

    R is the number of gallery pictures of the query's class, itself excluded. With rel(i) = 1 if neighbour i is of
    the query's class and P(i) the fraction of such among the first i:

        recall@k = 1 if any of rel(1..k) else 0     R-precision = P(R)     MAP@R = 1/R sum_{i=1..R} P(i) rel(i)
        mAP = 1/R sum_{i} P(i) rel(i), over the whole gallery

    averaged over the queries with R > 0.

    Raises UsageError if no query has a match or a k is below 1, VectorError if the vectors differ in size.
    """
    question = ks if isinstance(ks, Question) else Question(ks)
    _check_sizes(queries, gallery)
    own = _find_own(queries.ids, gallery.ids)
    relevant = _count_relevant(queries, gallery, own)
    matched = np.flatnonzero(relevant)
    if not matched.size:
        raise UsageError(
            "nothing to evaluate: no query has another picture of its class in the gallery",
            found=f"{len(queries.ids)} queries, {len(gallery.ids)} gallery pictures",
        )
    # One neighbour more than needed, since the query itself may be among them.
    reach = min(max(*question.ks, question.ranks, int(relevant.max())) + 1, len(gallery.ids))
    if question.full:
        reach = len(gallery.ids)
    blocks = []
    for rows in _split(matched, reach):
        _, neighbours = search(queries.vectors[rows], gallery.vectors, reach)  # (b, reach)
        right = gallery.labels[neighbours] == queries.labels[rows, None]
        blocks.append(_judge(right, neighbours == own[rows, None], relevant[rows], full=question.full))
    judged = (None if parts[0] is None else np.concatenate(parts) for parts in zip(*blocks, strict=True))
    per_query = QueryFigures(queries.ids[matched], queries.labels[matched], *judged)  # type: ignore[arg-type]
    summary = per_query.summarise(question.ks)
    return Figures(
        queries=len(queries.ids),
        gallery=len(gallery.ids),
        queries_without_match=len(queries.ids) - len(matched),
        recall=summary.recall,
        map_at_r=summary.map_at_r,
        r_precision=summary.r_precision,
        mean_average_precision=summary.mean_average_precision,
        per_query=per_query,
    )


def _check_sizes(queries: LabelledVectors, gallery: LabelledVectors) -> None:
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
    right: NDArray[np.bool_], itself: NDArray[np.bool_], relevant: Ids, *, full: bool
) -> tuple[Ids, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    """First match, average precision at R, R-precision and, if `full`, average precision, (b,) each.

    `right` (b, k): which neighbours, best first, are of the query's class; `itself`: which is the query. Overwrites
    `right`.
    """
    right &= ~itself
    first = right.argmax(axis=1)
    reached = np.take_along_axis(right, first[:, None], axis=1)[:, 0]
    before = itself.any(axis=1) & (itself.argmax(axis=1) < first)  # the query itself takes no rank
    near = slice(0, int(relevant.max()) + 1)  # what lies beyond has no part in the figures at R
    at_r, counted = _average_precision(right[:, near], itself[:, near], relevant, relevant)
    whole = _average_precision(right, itself, relevant, np.full_like(relevant, right.shape[1]))[0] if full else None
    return np.where(reached, first + 1 - before, 0).astype(np.int64), at_r, counted / relevant, whole


def _average_precision(
    right: NDArray[np.bool_], itself: NDArray[np.bool_], relevant: Ids, last: Ids
) -> tuple[NDArray[np.float64], Ids]:
    """(b,) 1/R sum P(i) rel(i) over the ranks up to `last` (b,), and how many right ones are among them."""
    ranks = np.cumsum(~itself, axis=1, dtype=np.int32)  # (b, k) from 1
    found = np.cumsum(right, axis=1, dtype=np.int32)  # right ones so far
    counted = right & (ranks <= last[:, None])
    precision = np.divide(found, ranks, where=counted, out=np.zeros(ranks.shape))
    return precision.sum(axis=1) / relevant, np.count_nonzero(counted, axis=1)
