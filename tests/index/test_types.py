"""Unit vectors and final scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.errors import VectorError
from index.types import Item, check_unit_vectors, score_pairs, unit_vectors


@st.composite
def matrices(draw: st.DrawFn, low: float = -30.0, high: float = 30.0) -> NDArray[np.float32]:
    """(n, d) float32 of normal values, each row scaled by 10 to a power between `low` and `high`."""
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 70))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    powers = random.uniform(low, high, size=(n, 1))
    rows = random.normal(size=(n, d))
    rows[np.abs(rows) < 0.01] = 0.01
    return np.asarray(rows * 10**powers).clip(-3e38, 3e38).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(matrices(low=-9.0, high=37.0))
def test_rows_get_length_one_and_keep_their_direction(rows: NDArray[np.float32]) -> None:
    units = unit_vectors(rows)
    assert units.dtype == np.float32
    assert units.shape == rows.shape
    np.testing.assert_allclose(np.linalg.norm(units.astype(np.float64), axis=1), 1.0, atol=1e-6)
    largest = np.abs(rows).argmax(axis=1)
    every = np.arange(len(rows))
    ratios = rows.astype(np.float64) / rows[every, largest].astype(np.float64)[:, None]
    np.testing.assert_allclose(units / units[every, largest][:, None], ratios, atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(matrices(low=-3.0, high=3.0))
def test_unit_vector_hangs_on_its_row_alone(rows: NDArray[np.float32]) -> None:
    together = unit_vectors(rows)
    for number, row in enumerate(rows):
        assert unit_vectors(row[None])[0].tobytes() == together[number].tobytes()
    assert unit_vectors(np.asfortranarray(rows)).tobytes() == together.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_row_without_direction_is_refused(bad: float) -> None:
    rows = np.ones((3, 4), np.float32)
    rows[1] = bad
    with pytest.raises(VectorError, match="row 1") as caught:
        unit_vectors(rows, where="picture.jpg")
    assert str(caught.value).startswith("picture.jpg: ")


def test_one_bad_value_is_enough() -> None:
    rows = np.ones((2, 4), np.float32)
    rows[1, 3] = np.nan
    with pytest.raises(VectorError):
        unit_vectors(rows)


def test_no_rows() -> None:
    assert unit_vectors(np.empty((0, 4), np.float32)).shape == (0, 4)
    assert score_pairs(np.empty((0, 4), np.float32), np.ones(4, np.float32)).shape == (0,)


@settings(max_examples=150, deadline=None)
@given(matrices(low=-1.0, high=1.0), st.integers(0, 2**32))
def test_score_hangs_on_its_two_vectors_alone(rows: NDArray[np.float32], seed: int) -> None:
    units = unit_vectors(rows)
    query = unit_vectors(np.random.default_rng(seed).normal(size=(1, rows.shape[1])))[0]
    together = score_pairs(units, query)
    for number in range(len(units)):
        assert score_pairs(units[number : number + 1], query).tobytes() == together[number].tobytes()
    order = np.random.default_rng(seed).permutation(len(units))
    assert score_pairs(units[order], query).tobytes() == together[order].tobytes()
    assert score_pairs(np.asfortranarray(units), query).tobytes() == together.tobytes()
    assert score_pairs(np.repeat(units, 50, axis=0), query).tobytes() == np.repeat(together, 50).tobytes()


def test_scores_are_cosines_within_their_range() -> None:
    rows = unit_vectors(np.random.default_rng(0).normal(size=(200, 96)))
    scores = score_pairs(rows, rows[7])
    assert scores.dtype == np.float32
    assert np.abs(scores).max() <= 1.0
    assert scores.argmax() == 7
    np.testing.assert_allclose(scores, rows @ rows[7], atol=1e-6)


def test_values_are_frozen() -> None:
    item = Item(1, "a", None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        item.key = "b"  # type: ignore[misc]
    assert item.metadata == {}


def test_score_does_not_hang_on_the_order_of_rows_in_memory() -> None:
    rows = np.zeros((3, 128), np.float32)
    rows[:, [0, 1, 8]] = (1.0, 2.0**-60, -1.0)  # their sum is 0 or 2**-60, as one adds them
    query = np.ones(128, np.float32)
    assert score_pairs(np.asfortranarray(rows), query).tobytes() == score_pairs(rows, query).tobytes()
    assert score_pairs(rows[:1], query).tobytes() == score_pairs(rows, query)[:1].tobytes()


@pytest.mark.parametrize("spoiled", [np.nan, np.inf, 0.0, 2.0])
def test_only_unit_vectors_pass_the_check(spoiled: float) -> None:
    rows = np.eye(3, dtype=np.float32)
    check_unit_vectors(rows)
    rows[1] = np.float32(spoiled) * np.ones(3, dtype=np.float32)
    with pytest.raises(VectorError, match="row 1 is no unit vector"):
        check_unit_vectors(rows)
