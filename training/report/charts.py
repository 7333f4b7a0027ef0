"""Charts as SVG text whose colours are the page's: pure functions from numbers to markup.

A line is told from the next by its dashes and its name as well as by its colour. What may change here: more kinds of
chart. Everything that comes from a user is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

Points = tuple[tuple[float, float], ...]
WIDTH, HEIGHT = 380, 232  # of the drawing, in its own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 42
_MOST_POINTS = 300
_LEAST_SPAN = 0.01  # of an axis, as a share of its values: less, and four digits would not tell its ticks apart


@dataclass(frozen=True)
class Series:
    """One line."""

    name: str
    points: Points
    style: int = 0  # which of the page's four colours and dashes
    faint: bool = False  # the unsmoothed values behind a line
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes."""

    title: str
    x_name: str
    y_name: str
    series: tuple[Series, ...]
    summary: str = ""  # what someone who does not see it should know
    y_range: tuple[float, float] | None = None
    x_range: tuple[float, float] | None = None
    ends: bool = False  # name the first and last point of the first line
    diagonal: bool = False
    whole_x: bool = True  # steps and epochs are counted


@dataclass(frozen=True)
class _Scale:
    """From values to the drawing's units."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...] = field(default=())

    def name(self, tick: float) -> str:
        """A tick with as many decimals as tell it from the next."""
        apart = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 0.0
        if not apart or abs(tick) >= 1e5 or apart < 1e-4:
            return say_number(tick)
        return f"{tick:.{max(0, -math.floor(math.log10(apart * 1.001)))}f}".replace("-", "\N{MINUS SIGN}")

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def nice_ticks(low: float, high: float, about: int = 6) -> tuple[float, ...]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, that lie within `low` to `high`."""
    if not high > low:
        return (low,)
    rough = (high - low) / about
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(number * step, 12) for number in range(first, last + 1))


def thin_out(points: Points, most: int = _MOST_POINTS) -> Points:
    """At most about `most` points: means of runs of neighbours."""
    run = math.ceil(len(points) / most) or 1
    if run == 1:
        return points
    runs = [points[start : start + run] for start in range(0, len(points), run)]
    return tuple((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in runs)


def smooth(points: Points, span: int) -> Points:
    """Each value with the mean of those around it, `span` points wide."""
    half, values = span // 2, [y for _, y in points]
    found = []
    for number, (x, _) in enumerate(points):
        around = values[max(0, number - half) : number + half + 1]
        found.append((x, sum(around) / len(around)))
    return tuple(found)


def draw_lines(chart: Chart) -> Markup:
    """The chart as an `svg` element with its name and summary for those who do not see it."""
    x, y = _scales(chart)
    parts = [_draw_axes(chart, x, y)]
    if chart.diagonal:
        parts.append(f'<path class="diagonal" d="M{x(0)} {y(0)}L{x(1)} {y(1)}"/>')
    for series in sorted(chart.series, key=lambda one: not one.faint):
        parts.append(_draw_series(series, x, y))
    if chart.ends and chart.series and chart.series[0].points:
        parts += _draw_ends(chart.series[0].points, x, y)
    return _svg(chart.title, chart.summary, parts)


def _scales(chart: Chart) -> tuple[_Scale, _Scale]:
    xs = [x for series in chart.series for x, _ in series.points] or [0.0, 1.0]
    ys = [y for series in chart.series for _, y in series.points] or [0.0, 1.0]
    return (
        _scale(chart.x_range or _widen(xs, 0.0, whole=chart.whole_x), _LEFT, WIDTH - _RIGHT, whole=chart.whole_x),
        _scale(chart.y_range or _widen(ys, 0.05), HEIGHT - _BOTTOM, _TOP),
    )


def _scale(limits: tuple[float, float], start: float, end: float, *, whole: bool = False) -> _Scale:
    ticks = nice_ticks(*limits)
    return _Scale(*limits, start, end, tuple(tick for tick in ticks if not whole or tick == int(tick)))


def _widen(values: Sequence[float], share: float, *, whole: bool = False) -> tuple[float, float]:
    """The values' range with a share of it on either side; never so narrow that ticks would have one name."""
    low, high = min(values), max(values)
    if not high > low:
        half = abs(low) / 2 or 0.5
        return low - half, high + half
    least = 0.0 if whole else _LEAST_SPAN * max(abs(low), abs(high))
    more = max(share * (high - low), (least - (high - low)) / 2)
    return low - more, high + more


def _draw_axes(chart: Chart, x: _Scale, y: _Scale) -> str:
    parts = [
        f'<path class="grid" d="M{_LEFT} {y(tick)}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 7}" y="{y(tick) + 4}" text-anchor="end">{y.name(tick)}</text>'
        for tick in y.ticks
    ]
    parts += [
        f'<text x="{x(tick)}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{x.name(tick)}</text>'
        for tick in x.ticks
    ]
    parts.append(f'<path class="axis" d="M{_LEFT} {HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x_name)}</text>')
    return "".join(parts)


def _draw_series(series: Series, x: _Scale, y: _Scale) -> str:
    points = [(x(a), y(b)) for a, b in thin_out(series.points)]
    kind = f"line s{series.style}{' faint' if series.faint else ''}"
    line = f'<path class="{kind}" d="M{"L".join(f"{a} {b}" for a, b in points)}"/>' if len(points) > 1 else ""
    if series.dots or len(points) == 1:
        line += "".join(f'<circle class="dot s{series.style}" cx="{a}" cy="{b}" r="3.5"/>' for a, b in points)
    return line


def _draw_ends(points: Points, x: _Scale, y: _Scale) -> list[str]:
    parts = []
    for (a, b), name, kind in ((points[0], "start", "open"), (points[-1], "end", "dot s0")):
        anchor, shift = ("end", -8) if x(a) > WIDTH / 2 else ("start", 8)
        parts.append(f'<circle class="{kind}" cx="{x(a)}" cy="{y(b)}" r="4.5"/>')
        parts.append(f'<text class="name" x="{x(a) + shift}" y="{y(b) - 6}" text-anchor="{anchor}">{name}</text>')
    return parts


@dataclass(frozen=True)
class TwoSided:
    """A histogram of right answers above the line and of wrong ones below: counts of equal bins of `limits`."""

    title: str
    x_name: str
    limits: tuple[float, float]
    above: tuple[int, ...]
    below: tuple[int, ...]
    summary: str = ""


def draw_two_sided(histogram: TwoSided) -> Markup:
    """The histogram as an `svg` element."""
    most = max(*histogram.above, *histogram.below, 1)
    x = _scale(histogram.limits, _LEFT, WIDTH - _RIGHT)
    y = _scale((-most * 1.12, most * 1.12), HEIGHT - _BOTTOM, _TOP)
    width = (WIDTH - _LEFT - _RIGHT) / len(histogram.above)
    parts = [
        f'<path class="grid" d="M{_LEFT} {y(tick)}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 7}" y="{y(tick) + 4}" text-anchor="end">{y.name(abs(tick))}</text>'
        for tick in y.ticks
    ]
    for kind, counts, sign in (("right", histogram.above, 1), ("wrong", histogram.below, -1)):
        for number, count in enumerate(counts):
            top, bottom = sorted((y(sign * count), y(0)))
            left = round(_LEFT + number * width + 0.75, 1)
            if count:
                parts.append(
                    f'<rect class="{kind}" x="{left}" y="{top}" width="{width - 1.5:.1f}" height="{bottom - top:.1f}"/>'
                )
    parts.append(f'<path class="axis" d="M{_LEFT} {y(0)}H{WIDTH - _RIGHT}"/>')
    parts += [
        f'<text x="{x(tick)}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{x.name(tick)}</text>'
        for tick in x.ticks
    ]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts += [
        f'<text class="name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(histogram.x_name)}</text>',
        f'<text class="name" x="{_LEFT + 6}" y="{_TOP + 12}">right</text>',
        f'<text class="name" x="{_LEFT + 6}" y="{HEIGHT - _BOTTOM - 6}">wrong</text>',
    ]
    return _svg(histogram.title, histogram.summary, parts)


def draw_interval(low: float, mean: float, high: float, limits: tuple[float, float]) -> Markup:
    """A mean as a dot and its interval as a bar, small enough for a table's cell; the numbers stand beside it."""
    x = _Scale(*limits, 4.0, 116.0)
    return Markup(  # numbers alone
        f'<svg class="interval" viewBox="0 0 120 16" aria-hidden="true"><path class="grid" d="M4 8H116"/>'
        f'<path class="bar" d="M{x(low)} 8H{x(high)}"/><circle class="dot s0" cx="{x(mean)}" cy="8" r="4"/></svg>'
    )


def _svg(title: str, summary: str, parts: Sequence[str]) -> Markup:
    name = f"{title}. {summary}" if summary else title
    return Markup(  # names are escaped, the rest is numbers
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        f"{''.join(parts)}</svg>"
    )


def say_number(value: float) -> str:
    """Short, without needless zeros: 0.05, 1200, 3e-05."""
    text = f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text
