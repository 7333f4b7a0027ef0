from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.charts import (
    HEIGHT,
    WIDTH,
    Chart,
    Series,
    TwoSided,
    draw_lines,
    draw_two_sided,
    nice_ticks,
    say_number,
    smooth,
    thin_out,
)

numbers = st.floats(-1e6, 1e6, allow_subnormal=False)
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40).map(tuple)


@given(numbers, st.floats(1e-3, 1e6))
def test_ticks_are_round_even_and_inside(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    steps = {round(b - a, 9) for a, b in pairwise(ticks)}
    assert 1 <= len(ticks) <= 8
    assert low - 1e-6 * span <= ticks[0] <= ticks[-1] <= low + span * (1 + 1e-6)
    assert max(steps, default=0) == pytest.approx(min(steps, default=0), rel=1e-6, abs=1e-6)


@given(points)
def test_every_point_is_drawn_inside_the_frame(values: tuple[tuple[float, float], ...]) -> None:
    picture = draw_lines(Chart("t", "x", "y", (Series("s", values, dots=True),), ends=True))
    circles = ElementTree.fromstring(str(picture)).findall(".//circle")
    assert len(circles) == len(values) + 2
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_higher_values_are_higher_up() -> None:
    picture = str(draw_lines(Chart("t", "x", "y", (Series("s", ((0.0, 1.0), (1.0, 2.0)), dots=True),))))
    low, high = (float(y) for y in re.findall(r'cy="([\d.]+)"', picture))
    assert high < low


@given(st.floats(1e-6, 1e4), st.floats(0, 0.2))
def test_each_tick_has_a_name_of_its_own(value: float, change: float) -> None:
    """Of a loss that hardly changes, too: five ticks were called 0.6931."""
    series = Series("s", ((1.0, value), (2.0, value * (1 + change / 1000)), (3.0, value * (1 + change))))
    picture = ElementTree.fromstring(str(draw_lines(Chart("t", "x", "y", (series,)))))
    names = [text.text for text in picture.findall(".//text[@text-anchor='end']")]
    assert len(names) > 1
    assert len(set(names)) == len(names)


def test_names_from_users_are_escaped() -> None:
    picture = str(draw_lines(Chart("<b>", "x&y", '"', (Series("s", ((0.0, 1.0),)),), summary="<script>")))
    assert "<b>" not in picture
    assert "<script>" not in picture
    assert ElementTree.fromstring(picture).attrib["aria-label"] == "<b>. <script>"


@given(points)
def test_smoothing_and_thinning_keep_the_range(values: tuple[tuple[float, float], ...]) -> None:
    for found in (smooth(values, 5), thin_out(values, 7)):
        assert min(y for _, y in values) - 1e-6 <= min(y for _, y in found)
        assert max(y for _, y in found) <= max(y for _, y in values) + 1e-6
    assert len(thin_out(values, 7)) <= 7
    assert [x for x, _ in smooth(values, 5)] == [x for x, _ in values]


def test_right_answers_stand_above_the_line_and_wrong_ones_below() -> None:
    picture = ElementTree.fromstring(str(draw_two_sided(TwoSided("t", "x", (0.0, 1.0), (4, 0), (0, 2)))))
    right, wrong = picture.findall(".//rect")
    assert (right.attrib["class"], wrong.attrib["class"]) == ("right", "wrong")
    assert float(right.attrib["y"]) + float(right.attrib["height"]) == pytest.approx(float(wrong.attrib["y"]), abs=0.2)
    assert float(right.attrib["height"]) == pytest.approx(2 * float(wrong.attrib["height"]), abs=0.3)
    assert float(right.attrib["x"]) < float(wrong.attrib["x"])


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "0.05"), (1200.0, "1200"), (-0.5, "\N{MINUS SIGN}0.5"), (3e-5, "3e-05")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert say_number(value) == text
    assert math.isfinite(value)
