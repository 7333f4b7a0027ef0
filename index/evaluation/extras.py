"""What may be asked beyond the plain figures: CMC, NMI and AMI, and classes that were trained on beside others.

What may change here: more that may be asked. Not: that the plain figures are the same with it or without.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from index.errors import UsageError
from index.evaluation.clustering import ClusteringFigures, evaluate_clustering
from index.evaluation.retrieval import Figures, LabelledVectors, Question, Summary
from index.types import Ids


@dataclass(frozen=True)
class Plan:
    """What is asked. `ks` None: the data set's own."""

    ks: tuple[int, ...] | None = None
    full: bool = False  # mAP
    cmc: int = 0  # ranks of the curve; 0: none
    clusterings: int = 0  # runs of k-means for NMI and AMI, seeds 0, 1, ...; 0: none

    def question(self, default: tuple[int, ...]) -> Question:
        """What `evaluate` is asked."""
        return Question(self.ks or default, self.full, self.cmc)


@dataclass(frozen=True)
class Extras:
    """The answers; None where nothing was asked, or there is nothing to say."""

    cmc: tuple[float, ...] | None = None  # recall@1, recall@2, ...
    clustering: ClusteringFigures | None = None
    seen: Summary | None = None  # queries of classes that the model was trained on, where there are others too
    unseen: Summary | None = None

    def to_json(self) -> dict[str, Any]:
        """Part of what `crossmatch evaluate --json` prints."""
        return {
            "cmc": None if self.cmc is None else list(self.cmc),
            "clustering": None if self.clustering is None else asdict(self.clustering),
            "seen": None if self.seen is None else summary_to_json(self.seen),
            "unseen": None if self.unseen is None else summary_to_json(self.unseen),
        }


def summary_to_json(summary: Summary) -> dict[str, Any]:
    """Fractions, and recall by k as a string."""
    return {
        "queries": summary.queries,
        "recall": {str(k): value for k, value in summary.recall.items()},
        "map_at_r": summary.map_at_r,
        "r_precision": summary.r_precision,
        "precision_at_1": summary.precision_at_1,
        "mean_average_precision": summary.mean_average_precision,
    }


def evaluate_extras(
    plan: Plan, figures: Figures, queries: LabelledVectors, gallery: LabelledVectors, seen: Ids | None = None
) -> Extras:
    """What `plan` asks beyond `figures`, which must be of the same question; `seen`: labels that were trained on."""
    if plan.cmc < 0 or plan.clusterings < 0:
        raise UsageError("no such count", expected="0 or more", found=min(plan.cmc, plan.clusterings))
    sides = _split_seen(figures, seen)
    return Extras(
        cmc=tuple(figures.per_query.match_curve(plan.cmc).tolist()) if plan.cmc else None,
        clustering=_cluster(queries, gallery, plan.clusterings) if plan.clusterings else None,
        seen=sides[0] if sides else None,
        unseen=sides[1] if sides else None,
    )


def _split_seen(figures: Figures, seen: Ids | None) -> tuple[Summary, Summary] | None:
    if seen is None:
        return None
    known = np.isin(figures.per_query.labels, seen)
    if known.all() or not known.any():
        return None
    ks = tuple(figures.recall)
    return figures.per_query.select(known).summarise(ks), figures.per_query.select(~known).summarise(ks)


def _cluster(queries: LabelledVectors, gallery: LabelledVectors, runs: int) -> ClusteringFigures:
    """Over every picture once, whichever side it is on."""
    others = ~np.isin(queries.ids, gallery.ids)
    vectors, labels = gallery.vectors, gallery.labels
    if others.any():
        vectors = np.concatenate((vectors, queries.vectors[others]))
        labels = np.concatenate((labels, queries.labels[others]))
    return evaluate_clustering(vectors, labels, range(runs))
