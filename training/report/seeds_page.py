"""The page above several seeds' reports: their figures side by side, their curves over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.config import Config
from training.report.charts import Chart, Points, Series, smooth
from training.report.curves import Rows
from training.report.page import PART_TITLES, make_environment

if TYPE_CHECKING:
    from training.seeds import SeedFigure

_STYLES = 4  # lines that the style sheet tells apart


@dataclass(frozen=True)
class SeedCurves:
    """What one seed logged."""

    seed: int
    metrics: Rows


def draw_seeds_report(name: str, config: Config, figures: Sequence[SeedFigure], curves: Sequence[SeedCurves]) -> str:
    """The whole page; it links to each seed's own report."""
    charts = [_chart("Loss", "step", curves, _loss)]
    protocols = dict.fromkeys(one.protocol for one in figures if one.part == "held_out")
    for protocol in protocols:
        charts.append(_chart(f"Held-out recall@1, {protocol}", "epoch", curves, _Recall(protocol)))
    return (
        make_environment()
        .get_template("seeds.html.j2")
        .render(
            name=name,
            config=config,
            figures=figures,
            part_titles=PART_TITLES,
            seeds=[one.seed for one in curves],
            charts=[chart for chart in charts if any(series.points for series in chart.series)],
        )
    )


def _chart(title: str, x_name: str, curves: Sequence[SeedCurves], read: Any) -> Chart:
    series = tuple(Series(f"seed {one.seed}", read(one.metrics), i % _STYLES) for i, one in enumerate(curves))
    return Chart(title, x_name, title, series, f"{len(series)} seeds")


def _loss(rows: Rows) -> Points:
    points = tuple((float(row["step"]), float(row["loss"])) for row in rows if row["kind"] == "step")
    return smooth(points, max(1, len(points) // 25))


@dataclass(frozen=True)
class _Recall:
    protocol: str

    def __call__(self, rows: Rows) -> Points:
        found = {
            float(row["epoch"]): float(row["protocols"][self.protocol]["recall"]["1"])
            for row in rows
            if row["kind"] == "validation" and self.protocol in row["protocols"]
        }
        return tuple(sorted(found.items()))
