"""An index on itself: recall@k and MAP@R from its own labels, and its snapshot against exact search, with latency.

Rows are read as they are; nothing is encoded. What may change here: more figures. Not: that a picture never counts
as its own neighbour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from index.catalog import Catalog, Generation
from index.errors import UsageError
from index.evaluation import KS, Figures, LabelledVectors, evaluate
from index.holding import keeping_files
from index.layout import Layout
from index.searcher import Searcher
from index.types import Ids, Vectors, score_pairs
from index.vectors import VectorMap
from index.view import GenerationHold

_K = 10
_TIE = 1e-6  # scores that differ by less are equal


@dataclass(frozen=True)
class EvaluationPlan:
    """How much is measured."""

    queries: int = 5000  # labelled pictures that ask, evenly spread, at most
    probes: int = 200  # pictures that the snapshot is compared by, at most


@dataclass(frozen=True)
class Latency:
    """Milliseconds a search."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Comparison:
    """A search as users get it against an exact one over every row."""

    probes: int
    recall_at_10: float  # of what exact search finds; equal scores count as found
    search: Latency
    exact: Latency


@dataclass(frozen=True)
class SelfEvaluation:
    """What an index measured of itself."""

    generation: str
    model: str
    recipe: str
    pictures: int
    labelled: int
    figures: Figures | None  # None where no two pictures share a label
    comparison: Comparison | None  # None where the index is empty

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch index evaluate --json` prints; recall by k as a string."""
        figures = self.figures
        return {
            **{name: getattr(self, name) for name in ("generation", "model", "recipe", "pictures", "labelled")},
            "queries": figures.queries if figures else 0,
            "queries_without_match": figures.queries_without_match if figures else 0,
            "recall": {str(k): value for k, value in figures.recall.items()} if figures else None,
            "map_at_r": figures.map_at_r if figures else None,
            "r_precision": figures.r_precision if figures else None,
            "snapshot": asdict(self.comparison) if self.comparison else None,
        }


def evaluate_index(folder: Path, plan: EvaluationPlan | None = None) -> SelfEvaluation:
    """Measure an index with its own rows. Raises IndexDataError."""
    plan = plan or EvaluationPlan()
    layout = Layout(folder)
    with Catalog(layout.catalog) as catalog, keeping_files(layout):
        with catalog.reading():
            generation = catalog.active_generation()
            hold = GenerationHold(layout.generation(generation.name) / "manifest.json")
            pictures, labelled = catalog.vector_ids(generation), catalog.labelled_pictures(generation)
        rows = VectorMap(layout.vectors(generation.name), generation.embedding_size).read(pictures)
        del hold
    return SelfEvaluation(
        generation=generation.name,
        model=generation.model_id,
        recipe=generation.recipe,
        pictures=len(pictures),
        labelled=len(labelled),
        figures=_evaluate_labels(pictures, rows, labelled, plan.queries),
        comparison=_compare(folder, generation, rows, plan.probes) if len(rows) else None,
    )


def _evaluate_labels(pictures: Ids, rows: Vectors, labelled: list[tuple[int, str]], queries: int) -> Figures | None:
    """Leave-one-out figures of labelled pictures among labelled pictures."""
    if not labelled:
        return None
    ids = np.array([picture for picture, _ in labelled], dtype=np.int64)
    _, labels = np.unique([label for _, label in labelled], return_inverse=True)
    gallery = LabelledVectors(rows[np.searchsorted(pictures, ids)], labels.astype(np.int64), ids)
    asked = _spread(len(ids), queries)
    try:
        return evaluate(LabelledVectors(gallery.vectors[asked], gallery.labels[asked], ids[asked]), gallery, KS)
    except UsageError:  # no two pictures share a label
        return None


def _compare(folder: Path, generation: Generation, rows: Vectors, probes: int) -> Comparison:
    asked = rows[_spread(len(rows), probes)]
    k = min(_K, len(rows))
    search_ms, exact_ms, found = [], [], 0
    with Searcher(folder) as searcher:
        for query in asked:
            result, took = _time(partial(searcher.search, query, k, model=generation.model_id))
            worst, took_exact = _time(partial(_find_worst, rows, query, k))
            found += sum(match.score >= worst - _TIE for match in result.matches)
            search_ms.append(took)
            exact_ms.append(took_exact)
    return Comparison(len(asked), found / (len(asked) * k), _summarise(search_ms), _summarise(exact_ms))


def _find_worst(rows: Vectors, query: Vectors, k: int) -> float:
    """The k-th best score, by a scan of every row."""
    scores = rows @ query  # (n,)
    best = np.argpartition(scores, -k)[-k:]
    return float(score_pairs(rows[best], query).min())


def _spread(count: int, wanted: int) -> Ids:
    """(m,) places, m at most `wanted`, evenly spread over 0..count - 1."""
    return np.linspace(0, count - 1, min(count, wanted), dtype=np.int64)


def _time(action: Callable[[], Any]) -> tuple[Any, float]:
    """What an action gave, and how many milliseconds it took."""
    started = time.perf_counter()
    result = action()
    return result, (time.perf_counter() - started) * 1000


def _summarise(times: list[float]) -> Latency:
    p50, p99 = np.percentile(times, [50, 99])
    return Latency(round(float(p50), 3), round(float(p99), 3))
