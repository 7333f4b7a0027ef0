"""The neighbours' vote, against the formula; and what a calibration makes of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.classification import classify
from index.types import Item, Match

SCORES = st.lists(st.tuples(st.floats(-1, 1, width=32), st.sampled_from([*"abc", None])), max_size=20)


def make_matches(votes: list[tuple[float, str | None]], probability: float | None = None) -> list[Match]:
    ranked = sorted(votes, key=lambda vote: -vote[0])
    return [Match(Item(n, str(n), label), score, probability) for n, (score, label) in enumerate(ranked, start=1)]


@given(SCORES)
def test_shares_are_the_formula(votes: list[tuple[float, str | None]]) -> None:
    verdict = classify(make_matches(votes))
    voters = [(score, label) for score, label in votes if label is not None]
    total = sum(math.exp(score / 0.07) for score, _ in voters)
    expected = {
        label: sum(math.exp(score / 0.07) for score, other in voters if other == label) / total for _, label in voters
    }
    assert {one.label: one.share for one in verdict.classes} == pytest.approx(expected)
    assert {one.label: one.votes for one in verdict.classes} == {
        label: sum(other == label for _, other in voters) for _, label in voters
    }
    assert [one.share for one in verdict.classes] == sorted((one.share for one in verdict.classes), reverse=True)
    assert verdict.none_of_these is None
    assert verdict.label == (verdict.classes[0].label if voters else None)


@given(SCORES, st.floats(0, 1), st.floats(0, 1))
def test_probabilities_share_out_that_of_the_best(
    votes: list[tuple[float, str | None]], known: float, least: float
) -> None:
    verdict = classify(make_matches(votes, known), least)
    if not any(label for _, label in votes):
        assert (verdict.classes, verdict.label) == ((), None)
        return
    probabilities = [one.probability or 0.0 for one in verdict.classes]
    assert sum(probabilities) == pytest.approx(known)
    assert verdict.none_of_these == (probabilities[0] < least)
    assert verdict.label == (None if verdict.none_of_these else verdict.classes[0].label)


def test_nothing_there() -> None:
    assert classify([]).none_of_these is None
    assert classify(make_matches([(0.9, None)], 0.8)).none_of_these is True
