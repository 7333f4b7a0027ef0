"""The same configuration trained from several seeds: how much of a figure is luck.

RUN/seed-<n> is a whole run each; RUN/seeds.json and RUN/report.html have the mean, the deviation over seeds, and an
interval over classes. What may change here: more figures. What may not: seeds differ in `train.seed` alone.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from index.errors import UsageError
from index.evaluation import Interval, bootstrap_mean
from index.terminal import print_note
from training.config import Config
from training.examination import Examination, Part, query_values
from training.finishing import RunResult
from training.metrics_log import METRICS_NAME
from training.report import REPORT_NAME, read_metrics, write_page
from training.report.seeds_page import SeedCurves, draw_seeds_report
from training.run import train_bundle

SUMMARY_NAME = "seeds.json"
_OWN = {SUMMARY_NAME, REPORT_NAME} | {Path(name).with_suffix(".tmp").name for name in (SUMMARY_NAME, REPORT_NAME)}


@dataclass(frozen=True)
class SeedFigure:
    """One figure of one protocol over the seeds, fractions."""

    part: Part
    protocol: str
    name: str  # `recall@1` and so on, `map_at_r`
    values: tuple[float, ...]  # a seed each
    deviation: float | None  # of the values, n - 1 in the denominator; None for one seed
    interval: Interval  # of the mean over seeds, classes drawn

    def to_json(self) -> dict[str, Any]:
        """Its fields, the interval's among them."""
        one = self.interval
        spread = {"deviation": self.deviation, "low": one.low, "high": one.high, "level": one.level}
        return {"mean": one.mean, **spread, "values": list(self.values)}


@dataclass(frozen=True, eq=False)
class SeedsResult:
    """What all seeds leave."""

    output: Path
    seeds: tuple[int, ...]
    runs: tuple[RunResult, ...]
    figures: tuple[SeedFigure, ...]

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch train --seeds N --json` prints, and RUN/seeds.json."""
        summary: dict[str, dict[str, dict[str, Any]]] = {}
        for one in self.figures:
            summary.setdefault(one.part, {}).setdefault(one.protocol, {})[one.name] = one.to_json()
        return {
            "report": str(self.output / REPORT_NAME),
            "seeds": list(self.seeds),
            "summary": summary,
            "runs": [run.to_json() for run in self.runs],
        }


def train_seeds(config: Config, output: Path, count: int) -> SeedsResult:
    """Train `count` seeds, `train.seed` and those after it; RUN/seeds.json and RUN/report.html are in `output` then.

    Given again, the same command goes on with the seed that was interrupted. Raises UsageError for a folder with
    something else in it, or under torchrun; else as `train_bundle`.
    """
    _check(output)
    seeds = tuple(range(config.train.seed, config.train.seed + count))
    runs: list[RunResult] = []
    for seed in seeds:
        print_note(f"seed {seed}, {len(runs) + 1} of {count}")
        run = train_bundle(replace(config, train=replace(config.train, seed=seed)), output / f"seed-{seed}")
        assert run is not None  # this is one process
        runs.append(run)
    result = SeedsResult(output, seeds, tuple(runs), summarise([run.examinations for run in runs]))
    write_page(json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n", output / SUMMARY_NAME)
    curves = tuple(SeedCurves(seed, read_metrics(output / f"seed-{seed}" / METRICS_NAME)) for seed in seeds)
    write_page(draw_seeds_report(output.resolve().name, config, result.figures, curves), output / REPORT_NAME)
    return result


def _check(output: Path) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "several seeds under torchrun",
            where="--seeds",
            expected="one process",
            remedy="give torchrun one seed at a time: train.seed=0, train.seed=1, ...",
        )
    names = [path.name for path in sorted(output.iterdir())] if output.is_dir() else []
    strange = next((name for name in names if name not in _OWN and not re.fullmatch(r"seed-\d+", name)), None)
    if strange or output.is_file():
        raise UsageError(
            "the output is in the way",
            where=output / strange if strange else output,
            expected="a new folder, or the runs of several seeds to go on with",
            remedy="choose another --output",
        )


def summarise(runs: list[tuple[Examination, ...]]) -> tuple[SeedFigure, ...]:
    """Every figure of every protocol, from a list of runs on the same queries: first a query's mean over the runs."""
    found = []
    for same in zip(*runs, strict=True):
        labels = same[0].assessment.figures.per_query.labels
        ks = tuple(same[0].assessment.figures.recall)
        several = [query_values(one.assessment.figures.per_query, ks) for one in same]
        for name in several[0]:
            values = tuple(float(run[name].mean()) for run in several)
            interval = bootstrap_mean(np.mean([run[name] for run in several], axis=0), labels)
            deviation = stdev(values) if len(values) > 1 else None
            found.append(SeedFigure(same[0].part, same[0].protocol.name, name, values, deviation, interval))
    return tuple(found)


def say_table(result: SeedsResult) -> list[str]:
    """The figures for a terminal, a line each, columns aligned."""
    rows = [("classes", "protocol", "figure", "mean", "deviation", "95 % over classes")]
    for one in result.figures:
        deviation = "-" if one.deviation is None else f"{one.deviation:.4f}"
        span = f"{one.interval.low:.4f} to {one.interval.high:.4f}"
        rows.append((one.part, one.protocol, one.name, f"{fmean(one.values):.4f}", deviation, span))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
