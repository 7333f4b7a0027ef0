"""Several vectors as one question, against the formula written out in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import UsageError, VectorError
from index.queries import Query, Strategy, combine_average, combine_views, make_probes, parse_strategy
from index.types import Vectors
from tests.vector_gallery import draw_rows


def length_one(values: list[float]) -> list[float]:
    length = math.sqrt(math.fsum(value * value for value in values))
    return [value / length for value in values]


def mean_of(rows: Vectors) -> list[float]:
    return length_one([math.fsum(column) / len(rows) for column in zip(*rows.astype(float).tolist(), strict=True)])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_the_average_is_the_formula(positives: int, negatives: int, seed: int) -> None:
    rows = draw_rows(positives + negatives, seed)
    near, far = rows[:positives], rows[positives:]
    expected = mean_of(near)
    if negatives:
        expected = length_one([p - 0.5 * n for p, n in zip(expected, mean_of(far), strict=True)])
    combined = combine_average(list(near), list(far))
    assert combined == pytest.approx(np.array(expected), abs=1e-6)
    assert np.linalg.norm(combined.astype(float)) == pytest.approx(1.0, abs=1e-6)
    shuffled = np.random.default_rng(seed).permutation(positives)
    assert combine_average(list(near[shuffled]), list(far)) == pytest.approx(combined, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_negative_never_brings_nearer(seed: int) -> None:
    """The cosine with the negative falls: the vector is turned away from it in the plane of both."""
    near, far = draw_rows(2, seed)
    moved = combine_average([near], [far])
    assert moved @ far <= near @ far + 1e-6


def test_one_picture_stays_as_it_is() -> None:
    [row] = draw_rows(1)
    assert combine_views([row]) is row
    probes = make_probes([row], [], Strategy.AVERAGE, 16)
    assert probes.towards.tobytes() == row.tobytes()
    assert not probes.moved


def test_vectors_that_cancel_out() -> None:
    [row] = draw_rows(1)
    with pytest.raises(VectorError):
        combine_views([row, -row])
    with pytest.raises(VectorError):
        combine_average([row], [row, -row])


def test_best_keeps_each() -> None:
    rows = draw_rows(5)
    probes = make_probes(list(rows[:3]), list(rows[3:]), Strategy.BEST, 16)
    assert (probes.towards.tolist(), probes.away.tolist()) == (rows[:3].tolist(), rows[3:].tolist())
    assert not probes.moved


def test_another_split_is_another_question() -> None:
    rows = list(draw_rows(4))
    digests = {
        make_probes(rows[:1], [], Strategy.AVERAGE, 16).digest(),
        make_probes(rows[:2], [], Strategy.AVERAGE, 16).digest(),
        make_probes(rows[:2], rows[2:], Strategy.BEST, 16).digest(),
        make_probes(rows[:3], rows[3:], Strategy.BEST, 16).digest(),
        make_probes(rows[:4], [], Strategy.BEST, 16).digest(),
    }
    assert len(digests) == 5


def test_what_can_not_be_asked() -> None:
    rows = list(draw_rows(2))
    with pytest.raises(UsageError, match="nothing to search by"):
        make_probes([], rows, Strategy.BEST, 16)
    with pytest.raises(VectorError, match="wrong size"):
        make_probes(rows, rows, Strategy.AVERAGE, 17)
    with pytest.raises(VectorError, match="no unit vector"):
        make_probes([rows[0], rows[1] * 2], [], Strategy.BEST, 16)
    with pytest.raises(UsageError, match=r"no such strategy \(expected average or best, found 'worst'\)"):
        parse_strategy("worst")


def test_the_items_of_a_question_are_no_answers() -> None:
    assert Query(positive_ids=(3, 4), negative_ids=(5,)).ids == {3, 4, 5}
