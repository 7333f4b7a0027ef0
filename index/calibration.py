"""From scores to probabilities: what the field `calibration` of a bundle's manifest says.

The probability that a query's best gallery picture is of its class, given its score: a rising line through a few
knots, and how it was fitted. `docs/artifacts.md` is this in prose. What may change here: new fields and thresholds,
with a default that keeps older bundles readable. Fitting is `training`'s business.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from index.errors import BundleFormatError
from index.manifest import Manifest

Score = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]  # a cosine
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Probability = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]  # nothing is certain


class Sampling(BaseModel):
    """Which queries a calibration was fitted on, and what they were searched among."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["held_out", "folds", "labelled"] = Field(
        description="`held_out` classes of the run; `folds` of its classes, each scored by a model trained without it; "
        "`labelled` pictures given to `crossmatch model calibrate`"
    )
    data: str = Field(description="the data set's name")
    protocol: str = Field(description="which of its protocols gave queries and gallery")
    folds: int | None = Field(ge=2, description="how many folds of classes; null unless `source` is `folds`")
    classes: int = Field(ge=2)
    queries: int = Field(
        ge=1, description="pictures that asked, each once with its class in the gallery and once without"
    )
    gallery: int = Field(ge=1, description="pictures that a query was searched among, on average")
    prior: Share = Field(description="the weight of the queries whose class is in the gallery, of 1")


class Calibration(BaseModel):
    """A rising, piecewise linear map from score to probability."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["isotonic"]
    knots: tuple[tuple[Score, Probability], ...] = Field(min_length=2, description="(score, probability), rising")
    expected_calibration_error: Share | None = Field(
        description="on classes that the fit left out, one group after the other; null where there were too few"
    )
    thresholds: dict[str, Score] = Field(description="what has its own least score, by name; may be empty")
    sampling: Sampling

    @model_validator(mode="after")
    def _check_rising(self) -> Self:
        for (score, probability), (next_score, next_probability) in pairwise(self.knots):
            if not (score < next_score and probability <= next_probability):
                raise ValueError(
                    f"knots must rise, found ({score}, {probability}) before ({next_score}, {next_probability})"
                )
        return self

    @cached_property
    def _lines(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scores, probabilities = np.array(self.knots, np.float64).T
        return scores, probabilities

    def probability(self, score: float) -> float:
        """The probability that belongs to a cosine; beyond the first and last knot, theirs."""
        return float(np.interp(score, *self._lines))

    def probabilities(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The same for scores (n,): (n,) float64."""
        found: NDArray[np.float64] = np.interp(np.asarray(scores, np.float64), *self._lines)
        return found

    def score_at(self, probability: float) -> float | None:
        """The least score that has at least this probability, within rounding; None where no score has.

        -1 where every score has it.
        """
        scores, probabilities = self._lines
        place = int(np.searchsorted(probabilities, probability))  # the first knot that reaches it
        if place == len(probabilities):
            return None
        if place == 0:
            return -1.0
        low, high = probabilities[place - 1], probabilities[place]  # low < probability <= high
        share = (probability - low) / (high - low)
        return float(scores[place - 1] + share * (scores[place] - scores[place - 1]))


def read_calibration(manifest: Manifest) -> Calibration | None:
    """A bundle's calibration; None where nothing measured one. Raises BundleFormatError for fields that do not fit."""
    return None if manifest.calibration is None else parse_calibration(manifest.calibration)


def parse_calibration(fields: dict[str, Any]) -> Calibration:
    """The value of the manifest's field. Raises BundleFormatError."""
    try:
        return Calibration.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(("calibration", *(str(part) for part in first["loc"])))
        raise BundleFormatError(
            f"field `{name}` of the manifest does not fit: {first['msg'].removeprefix('Value error, ')}",
            remedy="calibrate the bundle again, or export it again",
        ) from error
