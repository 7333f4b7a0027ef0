"""A line chart as an SVG file, for what a table tells badly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 360, 60, 50, 30
_COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5a97")


def plot_lines(
    path: Path, title: str, axes: tuple[str, str], xs: Sequence[float], lines: Mapping[str, Sequence[float]]
) -> None:
    """One line a name over evenly spaced `xs`; the y axis begins at 0."""
    ticks = _choose_ticks(max(value for values in lines.values() for value in values))
    top = ticks[-1]
    right = _WIDTH - 130
    step = (right - _LEFT) / max(1, len(xs) - 1)

    def place(number: int, value: float) -> str:
        return f"{_LEFT + number * step:.1f},{_HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - _TOP):.1f}"

    middle = (_LEFT + right) / 2
    view = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12"'
    turned = f'transform="rotate(-90 14 {_HEIGHT / 2})"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {view}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{title}</text>',
        f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">{axes[0]}</text>',
        f'<text x="14" y="{_HEIGHT / 2}" text-anchor="middle" {turned}>{axes[1]}</text>',
    ]
    for tick in ticks:
        y = _HEIGHT - _BOTTOM - tick / top * (_HEIGHT - _BOTTOM - _TOP)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number, x in enumerate(xs):
        at = _LEFT + number * step
        parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    for number, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(place(at, value) for at, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        end_x, end_y = map(float, place(len(values) - 1, values[-1]).split(","))
        parts.append(f'<text x="{end_x + 6:.1f}" y="{end_y + 4:.1f}" fill="{colour}">{name}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _choose_ticks(most: float) -> list[float]:
    """0 and up to six round numbers evenly above it, the last at least `most`."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough)
    return [step * number for number in range(math.ceil(most / step) + 1)]
