"""A run's record -> one HTML page, written whole or not at all.

What may change here: which sections there are; their markup is `report.html.j2`, their look `report.css`. What may not:
the page works from the disk, fetches nothing and needs no script.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from index.calibration import Calibration
from index.manifest import Manifest
from training.calibration import BestMatches, ReliabilityBin, predict_left_out, reliability
from training.examination import Examination, Part
from training.report.charts import Chart, Series, TwoSided, draw_interval, draw_lines, draw_two_sided, say_number
from training.report.curves import Rows, draw_curves
from training.report.findings import find
from training.report.thumbnails import draw_data_address

REPORT_NAME = "report.html"
PART_TITLES: dict[Part, str] = {
    "held_out": "Held-out classes",
    "test": "Test classes",
    "seen": "Classes trained on",
}
_ORDER: tuple[Part, ...] = ("held_out", "test", "seen")
_HISTOGRAM_BINS = 30
_SHOWN_CLASSES = 24


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that a report tells."""

    name: str  # the run's folder
    manifest: Manifest
    epochs: int
    metrics: Rows
    examinations: tuple[Examination, ...]
    calibration: Calibration | None
    matches: BestMatches | None  # what the calibration was fitted on

    @property
    def shown(self) -> tuple[Examination, ...]:
        """Of held-out or test classes, the examinations whose queries and classes are looked at."""
        part = next((one.part for one in self.examinations if one.part != "seen"), None)
        return tuple(one for one in self.examinations if one.part == part)


def write_page(text: str, path: Path) -> None:
    """Write a page that is the old one or the new one whole, whatever interrupts."""
    draft = path.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def make_environment() -> Environment:
    """The templates beside this module; every value is escaped, a missing one is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        chart=draw_lines, two_sided=draw_two_sided, interval=draw_interval, thumbnail=draw_data_address
    )
    environment.filters.update(number=say_number, share=say_share, plain=say_plain)
    return environment


def draw_report(record: RunRecord) -> str:
    """The whole page."""
    parts = sorted(record.examinations, key=lambda one: _ORDER.index(one.part))
    training = record.manifest.training
    return (
        make_environment()
        .get_template("report.html.j2")
        .render(
            record=record,
            manifest=record.manifest,
            training=training,
            part_titles=PART_TITLES,
            examinations=parts,
            ks=list(parts[0].assessment.figures.recall) if parts else [],
            curves=draw_curves(record.metrics),
            epochs=[row for row in record.metrics if row["kind"] == "epoch"],
            findings=[(one, find(one)) for one in record.shown],
            shown_classes=_SHOWN_CLASSES,
            calibration_charts=_draw_calibration(record),
            configuration=training.config if training else {},
            versions={**record.manifest.created_with, **(training.versions if training else {})},
        )
    )


def _draw_calibration(record: RunRecord) -> dict[str, Any] | None:
    """The map, the reliability of left-out classes and the scores of right and wrong answers; None without one."""
    calibration, matches = record.calibration, record.matches
    if calibration is None or matches is None:
        return None
    answers, asked = matches.answers(calibration.sampling.prior)
    found = predict_left_out(answers, asked)
    low, high = float(answers.scores.min()), float(answers.scores.max())
    edges = np.linspace(low, high, _HISTOGRAM_BINS + 1)
    right, wrong = (np.histogram(answers.scores[rows], edges)[0] for rows in (answers.right, ~answers.right))
    ends = ((low, calibration.probability(low)), (high, calibration.probability(high)))
    line = tuple(sorted({*ends, *((s, p) for s, p in calibration.knots if low <= s <= high)}))
    return {
        "line": Chart(
            "Score to probability", "score (cosine)", "probability", (Series("probability", line, 0, dots=True),),
            f"{calibration.probability(low):.2f} at {low:.2f}, {calibration.probability(high):.2f} at {high:.2f}",
            y_range=(0.0, 1.0),
            whole_x=False,
        ),
        "reliability": None if found is None else _reliability_chart(reliability(answers, found)),
        "scores": TwoSided(
            "Scores of best matches", "score (cosine)", (low, high),
            tuple(map(int, right)), tuple(map(int, wrong)),
            f"{int(right.sum())} right answers above the line, {int(wrong.sum())} wrong ones below",
        ),
    }  # fmt: skip


def _reliability_chart(bins: tuple[ReliabilityBin, ...]) -> Chart:
    points = tuple((one.probability, one.frequency) for one in bins)
    summary = ", ".join(f"said {one.probability:.2f}, was {one.frequency:.2f}" for one in bins)
    return Chart(
        "Reliability",
        "probability that was said",
        "share that was right",
        (Series("left-out classes", points, 0, dots=True),),
        summary,
        y_range=(0.0, 1.0),
        x_range=(0.0, 1.0),
        diagonal=True,
        whole_x=False,
    )


def say_share(value: float | None, digits: int = 3) -> str:
    """A fraction as the tables give it."""
    return "–" if value is None else f"{value:.{digits}f}"


def say_plain(value: object) -> str:
    """A configuration's value as YAML would have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`; none where there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]
