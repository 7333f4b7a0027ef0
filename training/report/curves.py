"""The rows of `metrics.jsonl` as charts. What may change here: which charts there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.report.charts import Chart, Points, Series, say_number, smooth

Rows = Sequence[dict[str, Any]]


def draw_curves(rows: Rows) -> tuple[Chart, ...]:
    """The loss, its parts over time and against each other, the learning rate and the held-out figures, if logged."""
    steps = [row for row in rows if row["kind"] == "step"]
    tightness, contrast = (_points(steps, name) for name in ("tightness", "contrast"))
    charts = [_loss(_points(steps, "loss"))]
    if tightness and contrast:
        charts += [_parts(tightness, contrast), _against(tightness, contrast)]
    charts += [_rate(_points(steps, "learning_rate")), *_held_out(rows)]
    return tuple(chart for chart in charts if any(series.points for series in chart.series))


def _points(steps: Rows, name: str) -> Points:
    return tuple((float(row["step"]), float(row[name])) for row in steps if row.get(name) is not None)


def _span(points: Points) -> int:
    return max(1, len(points) // 25)


def _smoothed(name: str, points: Points, style: int) -> tuple[Series, ...]:
    line = Series(name, smooth(points, _span(points)), style)
    return (Series("each step", points, style, faint=True), line) if _span(points) > 1 else (line,)


def _from_to(points: Points) -> str:
    if not points:
        return ""
    first, *_, last = (y for _, y in (points[0], *smooth(points, _span(points))))
    return f"from {say_number(first)} to {say_number(last)}"


def _loss(points: Points) -> Chart:
    return Chart("Loss", "step", "loss", _smoothed("smoothed", points, 0), _from_to(points))


def _parts(tightness: Points, contrast: Points) -> Chart:
    series = (*_smoothed("tightness", tightness, 0), *_smoothed("contrast", contrast, 1))
    summary = f"tightness {_from_to(tightness)}, contrast {_from_to(contrast)}"
    return Chart("Tightness and contrast", "step", "part of the loss", series, summary)


def _against(tightness: Points, contrast: Points) -> Chart:
    """The path that training took between pulling classes together and pushing everything apart."""
    smoothed = (smooth(points, max(1, len(points) // 10)) for points in (tightness, contrast))
    path = tuple((a, b) for (_, a), (_, b) in zip(*smoothed, strict=True))
    return Chart(
        "Tightness against contrast", "tightness", "contrast", (Series("path", path, 0),), ends=True, whole_x=False
    )


def _rate(points: Points) -> Chart:
    most = max((y for _, y in points), default=0.0)
    return Chart("Learning rate", "step", "rate", (Series("rate", points, 2),), f"at most {say_number(most)}")


def _held_out(rows: Rows) -> list[Chart]:
    """Recall@1 and MAP@R by epoch, a line a protocol; a row that was measured again replaces the earlier one."""
    by_epoch = {row["epoch"]: row["protocols"] for row in rows if row["kind"] == "validation"}
    names = list(dict.fromkeys(name for protocols in by_epoch.values() for name in protocols))
    charts = []
    for title, read in (("recall@1", _read_recall), ("MAP@R", _read_map)):
        series = tuple(
            Series(
                name, tuple((float(e), read(p[name])) for e, p in sorted(by_epoch.items()) if name in p), i, dots=True
            )
            for i, name in enumerate(names)
        )
        last = ", ".join(f"{one.name} {one.points[-1][1]:.3f}" for one in series if one.points)
        values = [y for one in series for _, y in one.points] or [0.0]
        limits = (max(0.0, min(values) - 0.05), min(1.0, max(values) + 0.05))
        charts.append(Chart(f"Held-out classes: {title}", "epoch", title, series, f"last: {last}", y_range=limits))
    return charts if names else []


def _read_recall(figures: dict[str, Any]) -> float:
    return float(figures["recall"]["1"])


def _read_map(figures: dict[str, Any]) -> float:
    return float(figures["map_at_r"])
