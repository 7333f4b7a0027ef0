"""A trained encoder -> the run's bundle: exported, measured, calibrated and described, and only then put in place.

All is measured on a draft, whose model is the bundle's own. Interrupted anywhere, the bundle is the one that was there
before, or none, and the same command makes it again from the checkpoint. What may change here: what is measured.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.bundle import Bundle
from index.calibration import Calibration
from index.terminal import print_note, progress_bar
from training.calibration import BestMatches, CalibrationPlan, fit_calibration, is_enough
from training.config import Config
from training.data import TrainingSet
from training.examination import Examination, Part, examine
from training.export import Exporter, ExportPlan
from training.metrics_log import METRICS_NAME, MetricsLog
from training.model import Embedder
from training.report import REPORT_NAME, RunRecord, draw_report, read_metrics, write_page
from training.resaving import measure_same_picture
from training.validation import Figures, held_out_protocols, own_test_protocols, seen_protocols

BUNDLE_NAME = "bundle"
_TITLES: dict[Part, str] = {"held_out": "held-out classes", "seen": "classes trained on", "test": "test classes"}


@dataclass(frozen=True, eq=False)
class Trained:
    """What training leaves for the rest: the encoder as it is exported, and what it was made from."""

    config: Config
    data: TrainingSet
    embedder: Embedder
    plan: ExportPlan
    epochs: int


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run leaves."""

    bundle: Bundle
    epochs: int
    examinations: tuple[Examination, ...]

    @property
    def held_out(self) -> Figures:
        """Figures on the held-out classes; empty where no class was held out."""
        return self.figures("held_out")

    def figures(self, part: Part) -> Figures:
        """Protocol -> figures, of one part; empty where it was not measured."""
        return {one.protocol.name: one.to_json() for one in self.examinations if one.part == part}

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch train --json` prints."""
        manifest, calibration = self.bundle.manifest, self.bundle.calibration
        return {
            "bundle": str(self.bundle.folder),
            "report": str(self.bundle.folder.parent / REPORT_NAME),
            "model": manifest.model_id,
            "epochs": self.epochs,
            **{part: self.figures(part) or None for part in _TITLES},
            "calibration_error": calibration.expected_calibration_error if calibration else None,
        }


def finish(trained: Trained, folds: BestMatches | None, output: Path) -> RunResult:
    """Export, measure and calibrate; RUN/bundle and RUN/report.html are whole then.

    `folds`: best matches of classes scored by models that never saw them; None where no folds were trained.
    """
    with tempfile.TemporaryDirectory(prefix="crossmatch-") as name:
        files = Path(name) / "files"
        files.mkdir()
        exporter = Exporter(trained.embedder, trained.plan, files)
        draft = exporter.seal(Path(name) / BUNDLE_NAME)
        examinations = _examine_all(draft, trained)
        _log_held_out(trained, examinations, output / METRICS_NAME)
        matches = _find_matches(examinations, folds)
        calibration = _calibrate(draft, trained, matches, cross_fitted=folds is not None)
        report = draw_report(
            RunRecord(
                name=output.resolve().name,
                manifest=draft.manifest,
                epochs=trained.epochs,
                metrics=read_metrics(output / METRICS_NAME),
                examinations=examinations,
                calibration=calibration,
                matches=matches,
            )
        )
        (files / REPORT_NAME).write_text(report, encoding="utf-8")
        bundle = exporter.seal(output / BUNDLE_NAME, _describe(trained, examinations), calibration)
    write_page(report, output / REPORT_NAME)
    result = RunResult(bundle, trained.epochs, examinations)
    for part, title in _TITLES.items():
        print_figures(title, result.figures(part))
    return result


def _log_held_out(trained: Trained, examinations: tuple[Examination, ...], path: Path) -> None:
    figures = {one.protocol.name: one.to_json() for one in examinations if one.part == "held_out"}
    if figures:
        with MetricsLog(path, trained.epochs) as log:
            log.write("validation", trained.epochs, protocols=figures)


def _examine_all(bundle: Bundle, trained: Trained) -> tuple[Examination, ...]:
    """Held-out classes and, last, the test classes; beside either, as many classes that were trained on."""
    data, evaluation = trained.data, trained.config.evaluation
    held_out = held_out_protocols(data)
    test = own_test_protocols(data) if evaluation.test else ()
    unseen = len({picture.label for picture in test[0].queries}) if test else len(data.held_out_classes)
    seen = seen_protocols(data, unseen, trained.config.data.holdout_seed) if evaluation.seen and unseen else ()
    found: list[Examination] = []
    parts: tuple[tuple[Part, Any], ...] = (("held_out", held_out), ("seen", seen), ("test", test))
    for part, protocols in parts:
        with progress_bar(f"Encoding {_TITLES[part]}") as on_progress:
            found += examine(bundle, data.name, part, protocols, on_progress)
    return tuple(found)


def _find_matches(examinations: tuple[Examination, ...], folds: BestMatches | None) -> BestMatches | None:
    """Of held-out classes where there are some, else of the folds, else none: never of a class trained on."""
    source = next((one for one in examinations if one.part == "held_out"), None)
    return source.best_matches() if source else folds


def _calibrate(
    bundle: Bundle, trained: Trained, matches: BestMatches | None, *, cross_fitted: bool
) -> Calibration | None:
    """None where there are no matches, or too few."""
    if matches is None:
        return None
    if not is_enough(matches):
        print_note(f"no calibration: {len(matches.labels)} queries of held-out classes are too few")
        return None
    data, config = trained.data, trained.config.calibration
    plan = CalibrationPlan(
        source="folds" if cross_fitted else "held_out",
        data=data.name,
        protocol="shelf" if data.name == "grocery" else "self",
        folds=config.folds if cross_fitted else None,
        prior=config.prior,
        same_picture=measure_same_picture(bundle, data.held_out or data.pictures),
    )
    return fit_calibration(matches, plan)


def _describe(trained: Trained, examinations: tuple[Examination, ...]) -> dict[str, Any] | None:
    """The manifest's `evaluation`; None where nothing was measured."""
    fields: dict[str, Any] = {}
    if trained.data.held_out:
        fields["held_out_classes"] = list(trained.data.held_out_classes)
    for one in examinations:
        if one.part == "seen":
            fields["seen_classes"] = sorted({str(picture.label) for picture in one.protocol.queries})
        fields.setdefault(one.part, {})[one.protocol.name] = one.to_json()
    return fields or None


def print_figures(title: str, figures: Figures) -> None:
    """A line a protocol, for people."""
    for name, fields in figures.items():
        recall = fields["recall"]["1"]
        print_note(f"{title}, {name}: R@1 {recall:.3f}, MAP@R {fields['map_at_r']:.3f}")


def say_outcome(result: RunResult) -> tuple[str, ...]:
    """Where the bundle and the report are, and whether scores have probabilities: a line each."""
    fields, calibration = result.to_json(), result.bundle.calibration
    if calibration is None:
        last = "not calibrated: data.holdout=0.25, calibration.folds=5 or `crossmatch model calibrate` does it"
    else:
        error = calibration.expected_calibration_error
        last = "calibrated" if error is None else f"calibrated: error {error:.4f} on classes that the fit left out"
    return f"{fields['bundle']}: model {fields['model']}", f"{fields['report']}: the run in one page", last
