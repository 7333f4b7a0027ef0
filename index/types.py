"""The small frozen values that the modules hand to each other, and the two rules that make a vector a vector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import VectorError

_UNIT_TOLERANCE = 1e-3  # of a vector's length: float16 storage passes, a forgotten normalisation does not

Vectors = NDArray[np.float32]  # (n, d) float32, or (d,)
Ids = NDArray[np.int64]  # (n,) or (n, k) int64


@dataclass(frozen=True)
class Item:
    """One thing in the gallery, as the catalogue has it."""

    id: int
    key: str
    label: str | None
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = 1  # counts the item's changes


@dataclass(frozen=True)
class Match:
    """An item that a search found; score = cosine with the query, -1 to 1."""

    item: Item
    score: float
    probability: float | None = None  # that it is of the query's class; None where the model is not calibrated


@dataclass(frozen=True)
class IndexInfo:
    """What an index says of itself."""

    generation: str
    model: str  # the model id
    size: int  # items
    recall: float | None  # measured recall@10 of the snapshot; null where there is none


@dataclass(frozen=True)
class SearchResult:
    """Matches, best first, and the state of the index that gave them."""

    matches: tuple[Match, ...]
    index: IndexInfo
    next_cursor: str | None = None  # None: there are no more

    def to_json(self, took_ms: float) -> dict[str, Any]:
        """The answer as HTTP and `crossmatch search --json` give it; `took_ms`: milliseconds, decoding included."""
        return {
            "results": [
                {
                    "id": match.item.id,
                    "key": match.item.key,
                    "label": match.item.label,
                    "score": match.score,
                    "probability": match.probability,
                    "metadata": match.item.metadata,
                    "image_url": f"/v1/items/{match.item.id}/image",
                }
                for match in self.matches
            ],
            "index": {"generation": self.index.generation, "model": self.index.model, "size": self.index.size},
            "next_cursor": self.next_cursor,
            "took_ms": round(took_ms, 3),
        }


def check_unit_vectors(vectors: Vectors) -> None:
    """Raises VectorError unless every row of (n, d) float32 is finite and of length 1: the check at every door."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))  # so put, NaN is wrong too
    if wrong.size:
        raise VectorError(
            f"row {wrong[0]} is no unit vector", expected="length 1", found=f"length {lengths[wrong[0]]:g}"
        )


def unit_vectors(vectors: NDArray[Any], *, where: object = None) -> Vectors:
    """(n, d) float32 of length 1 from (n, d) of any length.

    Raises VectorError for one that is not finite or has no length: it has no cosine with anything.
    """
    rows = np.asarray(vectors, dtype=np.float64)  # float64: the square of a large float32 would overflow
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths < 1e-12))
    if wrong.size:
        raise VectorError(
            "the vector is not finite or has no length",
            where=where,
            expected="finite values, not all zero",
            found=f"length {lengths[wrong[0]]:g} in row {wrong[0]}",
        )
    units: Vectors = (rows / lengths[:, None]).astype(np.float32)
    return units


def score_pairs(rows: Vectors, query: Vectors) -> Vectors:
    """(n,) float32 cosines of unit `rows` (n, d) with a unit `query` (d,): the one routine that makes final scores.

    Each row is summed by itself in float64, so a score hangs on its two vectors alone, not on which rows came along.
    """
    products = rows.astype(np.float64, order="C") * query.astype(np.float64)  # C: numpy sums columns in another order
    scores: Vectors = products.sum(axis=1).clip(-1.0, 1.0).astype(np.float32)
    return scores
