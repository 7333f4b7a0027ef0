"""An exported bundle on one protocol, looked at closely: figures with intervals, and the vectors behind them.

What the manifest's `evaluation`, the calibration and the report are made of. What may change here: more intervals.
What may not: the figures are the exported bundle's, through `index`, never the torch model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from index.assessment import Assessment, Progress, encode_pictures, evaluate_vectors
from index.bundle import Bundle
from index.datasets import Protocol
from index.datasets.registry import find_dataset
from index.evaluation import Interval, bootstrap_mean
from index.evaluation.retrieval import QueryFigures
from index.sources import SourcePicture
from index.types import Vectors
from training.calibration import BestMatches, find_best_matches

Part = Literal["held_out", "seen", "test"]


@dataclass(frozen=True, eq=False)
class Examination:
    """One protocol's figures, and the unit vectors (n, d) float32 of `pictures`, which hold the protocol's."""

    part: Part
    protocol: Protocol
    assessment: Assessment
    intervals: dict[str, Interval]  # of the mean over queries, classes drawn: `recall@1`, `map_at_r`
    pictures: tuple[SourcePicture, ...]
    vectors: Vectors

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch evaluate --json` prints, and the intervals."""
        intervals = {
            name: {"low": one.low, "high": one.high, "level": one.level} for name, one in self.intervals.items()
        }
        return {**self.assessment.to_json(), "intervals": intervals}

    def best_matches(self) -> BestMatches:
        """What a calibration is fitted on."""
        return find_best_matches(self.protocol, self.pictures, self.vectors)


def examine(
    bundle: Bundle, data: str, part: Part, protocols: Sequence[Protocol], on_progress: Progress | None = None
) -> tuple[Examination, ...]:
    """The bundle on each protocol; pictures that they share are encoded once.

    Raises ImageError or VectorError for a picture that can not be encoded, UsageError where no query has a match.
    """
    every = (picture for one in protocols for side in (one.gallery, one.queries) for picture in side)
    pictures = tuple({picture.key: picture for picture in every}.values())
    vectors = encode_pictures(bundle, pictures, on_progress=on_progress) if pictures else np.empty((0, 0), np.float32)
    ks = find_dataset(data).ks
    found = []
    for protocol in protocols:
        figures = evaluate_vectors(protocol, pictures, vectors, ks)
        assessment = Assessment(data, protocol.name, bundle.manifest.model_id, figures)
        intervals = measure_intervals(figures.per_query)
        found.append(Examination(part, protocol, assessment, intervals, pictures, vectors))
    return tuple(found)


def query_values(figures: QueryFigures, ks: tuple[int, ...] = (1,)) -> dict[str, NDArray[np.float64]]:
    """(m,) float64 of each query: `recall@k` for each of `ks` and `map_at_r`, whose means are the figures."""
    first = figures.first_match
    recall = {f"recall@{k}": ((first >= 1) & (first <= k)).astype(np.float64) for k in ks}
    return {**recall, "map_at_r": figures.average_precision}


def measure_intervals(figures: QueryFigures) -> dict[str, Interval]:
    """A bootstrap over classes of each of `query_values`."""
    return {name: bootstrap_mean(values, figures.labels) for name, values in query_values(figures).items()}
