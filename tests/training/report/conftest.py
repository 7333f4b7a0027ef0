"""Two examinations of made-up vectors over drawn pictures, and the record of a run that they would come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.assessment import Assessment, evaluate_vectors
from index.bundle import Bundle
from index.datasets import Protocol, read_protocol
from index.manifest import TrainingData
from index.types import unit_vectors
from training.calibration import CalibrationPlan, fit_calibration
from training.examination import Examination, Part, measure_intervals
from training.report import RunRecord

STEPS = [
    {
        "kind": "step",
        "epoch": 1,
        "step": step,
        "loss": 3 - step / 40,
        "tightness": -step / 40,
        "contrast": 3.0,
        "learning_rate": 0.01,
    }
    for step in range(1, 61)
]


def examine_made_up(protocol: Protocol, part: Part, noise: float = 0.6) -> Examination:
    """Vectors that stand near their class's own direction, so that some queries are right and some wrong."""
    random = np.random.default_rng(0)
    names = sorted({str(picture.label) for picture in protocol.gallery})
    centres = random.normal(size=(len(names), 8))
    rows = [centres[names.index(str(picture.label))] for picture in protocol.gallery]
    vectors = unit_vectors(np.array(rows) + noise * 2 * random.normal(size=(len(rows), 8)))
    figures = evaluate_vectors(protocol, protocol.gallery, vectors)
    assessment = Assessment("folder", protocol.name, "0" * 64, figures)
    return Examination(part, protocol, assessment, measure_intervals(figures.per_query), protocol.gallery, vectors)


@pytest.fixture
def examination(drawn_pictures: Path) -> Examination:
    return examine_made_up(read_protocol("folder", drawn_pictures), "held_out")


@pytest.fixture
def make_record(tiny_bundle: Bundle, examination: Examination) -> Callable[..., RunRecord]:
    """The record of a run with a hold-out; arguments replace its fields."""

    def make(**changes: Any) -> RunRecord:
        training = TrainingData(
            name="folder", digest="d" * 64, pictures=90, classes=("a<b>", "c"), seed=3,
            config={"data": {"name": "folder", "holdout": 0.25}, "train": {"epochs": 1}}, versions={"torch": "2"},
        )  # fmt: skip
        matches = examination.best_matches()
        epoch = {"kind": "epoch", "epoch": 1, "loss": 1.5, "images_per_second": 20.0}
        figures = {"kind": "validation", "epoch": 1, "protocols": {"self": examination.to_json()}}
        fields: dict[str, Any] = {
            "name": "run",
            "manifest": tiny_bundle.manifest.model_copy(update={"training": training}),
            "epochs": 1,
            "metrics": [*STEPS, epoch, figures],
            "examinations": (examination,),
            "calibration": fit_calibration(matches, CalibrationPlan("held_out", "folder", "self")),
            "matches": matches,
        }
        return RunRecord(**{**fields, **changes})

    return make
