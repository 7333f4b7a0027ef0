"""Retrieval figures against a reference that is slow and plainly right, and against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import UsageError, VectorError
from index.evaluation import LabelledVectors, Question, evaluate
from index.exact_search import Chunks, search_exact, search_nearest
from index.types import Ids, Vectors

# Unit vectors whose inner products are exact in float32 (multiples of 1/4), so that ties really tie.
_HALVES = [np.array(signs, np.float32) / 2 for signs in np.ndindex(2, 2, 2, 2)]
CORNERS = [np.where(half > 0, 0.5, -0.5).astype(np.float32) for half in _HALVES]
CORNERS += list(np.eye(4, dtype=np.float32))


@dataclass(frozen=True)
class Picture:
    id: int
    label: int
    corner: int


def pack(pictures: Sequence[Picture]) -> LabelledVectors:
    return LabelledVectors(
        np.stack([CORNERS[picture.corner] for picture in pictures]),
        np.array([picture.label for picture in pictures], np.int64),
        np.array([picture.id for picture in pictures], np.int64),
    )


@st.composite
def draw_sides(draw: st.DrawFn) -> tuple[list[Picture], list[Picture]]:
    """Queries and gallery out of one pool, apart, overlapping or the same; classes of one picture, copies and ties."""
    pool = [
        Picture(id_, draw(st.integers(0, 3)), draw(st.integers(0, len(CORNERS) - 1)))
        for id_ in draw(st.lists(st.integers(-50, 50), min_size=2, max_size=14, unique=True))
    ]
    if draw(st.booleans()):
        return pool, draw(st.permutations(pool))
    pick = st.lists(st.sampled_from(pool), min_size=1, unique=True)
    return draw(pick), draw(pick)


@dataclass(frozen=True)
class Expected:
    first: int
    average_precision: float
    r_precision: float
    full: float  # average precision over the whole ranking


def judge_slowly(query: Picture, gallery: Sequence[Picture]) -> Expected | None:
    """One query's figures by the definitions, or None where nothing else has its class."""
    others = [(place, picture) for place, picture in enumerate(gallery) if picture.id != query.id]
    score = {place: float(CORNERS[query.corner] @ CORNERS[picture.corner]) for place, picture in others}
    ranked = [picture for place, picture in sorted(others, key=lambda other: (-score[other[0]], other[0]))]
    right = [picture.label == query.label for picture in ranked]
    count = sum(right)
    if count == 0:
        return None
    average = sum(sum(right[:rank]) / rank for rank in range(1, count + 1) if right[rank - 1]) / count
    full = sum(sum(right[:rank]) / rank for rank in range(1, len(right) + 1) if right[rank - 1]) / count
    return Expected(right.index(True) + 1, average, sum(right[:count]) / count, full)


def search_in_bits(queries: Vectors, gallery: Vectors, k: int) -> tuple[Vectors, Ids]:
    return search_exact(queries, gallery, k, Chunks(queries=2, gallery=3))


@settings(deadline=None)
@given(sides=draw_sides(), ks=st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True).map(tuple))
def test_equals_the_plain_reference(sides: tuple[list[Picture], list[Picture]], ks: tuple[int, ...]) -> None:
    queries, gallery = sides
    answers = [(query, judge_slowly(query, gallery)) for query in queries]
    expected = [(query, answer) for query, answer in answers if answer is not None]
    if not expected:
        with pytest.raises(UsageError, match="nothing to evaluate"):
            evaluate(pack(queries), pack(gallery), ks)
        return
    for search in (search_exact, search_in_bits):
        figures = evaluate(pack(queries), pack(gallery), ks, search)
        assert (figures.queries, figures.gallery) == (len(queries), len(gallery))
        assert figures.queries_without_match == len(queries) - len(expected)
        assert list(figures.recall) == list(ks)
        for k in ks:
            assert figures.recall[k] == pytest.approx(np.mean([answer.first <= k for _, answer in expected]))
        assert figures.map_at_r == pytest.approx(np.mean([answer.average_precision for _, answer in expected]))
        assert figures.r_precision == pytest.approx(np.mean([answer.r_precision for _, answer in expected]))
        assert figures.per_query.ids.tolist() == [query.id for query, _ in expected]
        assert figures.per_query.labels.tolist() == [query.label for query, _ in expected]
        assert figures.per_query.average_precision == pytest.approx(
            [answer.average_precision for _, answer in expected]
        )
        assert figures.per_query.r_precision == pytest.approx([answer.r_precision for _, answer in expected])


@settings(deadline=None)
@given(sides=draw_sides())
def test_first_match_is_its_rank_when_all_are_reached(sides: tuple[list[Picture], list[Picture]]) -> None:
    queries, gallery = sides
    expected = [answer.first for query in queries if (answer := judge_slowly(query, gallery)) is not None]
    if expected:
        assert evaluate(pack(queries), pack(gallery), (100,)).per_query.first_match.tolist() == expected


@settings(deadline=None)
@given(sides=draw_sides())
def test_the_whole_ranking_against_the_plain_reference(sides: tuple[list[Picture], list[Picture]]) -> None:
    queries, gallery = sides
    expected = [answer for query in queries if (answer := judge_slowly(query, gallery)) is not None]
    if not expected:
        return
    figures = evaluate(pack(queries), pack(gallery), Question(ks=(1, 3), full=True), search_in_bits)
    assert figures.mean_average_precision == pytest.approx(np.mean([answer.full for answer in expected]))
    assert figures.map_at_r == pytest.approx(np.mean([answer.average_precision for answer in expected]))
    assert figures.per_query.first_match.tolist() == [answer.first for answer in expected]
    curve = figures.per_query.match_curve(len(gallery))
    assert curve == pytest.approx(
        [np.mean([answer.first <= k for answer in expected]) for k in range(1, len(gallery) + 1)]
    )


@settings(deadline=None)
@given(sides=draw_sides())
def test_distance_ranks_unit_vectors_as_cosine_does(sides: tuple[list[Picture], list[Picture]]) -> None:
    queries, gallery = map(pack, sides)
    try:
        figures = evaluate(queries, gallery)
    except UsageError:
        return

    assert evaluate(queries, gallery, search=search_nearest) == figures


def test_a_part_of_the_queries() -> None:
    pictures = LabelledVectors(on_circle(0, 1, 90, 180, 181), number(0, 0, 1, 1, 0), number(0, 1, 2, 3, 4))
    per_query = evaluate(pictures, pictures, Question((1, 2), full=True)).per_query
    some = per_query.select(np.isin(per_query.labels, [0]))
    assert some.ids.tolist() == [0, 1, 4]
    summary = some.summarise((1, 2))
    assert (summary.queries, summary.precision_at_1) == (3, pytest.approx(2 / 3))
    assert summary.map_at_r == pytest.approx(some.average_precision.mean())
    assert summary.mean_average_precision is not None
    with pytest.raises(UsageError, match="no query"):
        per_query.select(per_query.labels == 9).summarise((1,))


def test_vectors_of_any_length_for_distance() -> None:
    near, far = on_circle(0, 1, 2), on_circle(0, 1, 2) * 5
    vectors = np.concatenate([near, far]).astype(np.float32)
    pictures = LabelledVectors(vectors, number(0, 0, 0, 1, 1, 1), number(*range(6)), unit=False)
    assert evaluate(pictures, pictures, (1,), search_nearest).map_at_r == 1.0
    with pytest.raises(VectorError, match="row 1: a vector is not finite"):
        LabelledVectors(np.array([[1, 2], [np.inf, 0]], np.float32), number(0, 0), number(0, 1), unit=False)


def on_circle(*degrees: float) -> Vectors:
    """Unit vectors by their angle; the nearer the angle, the nearer the vector."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def number(*values: int) -> Ids:
    return np.array(values, np.int64)


def test_worked_example() -> None:
    """Right at ranks 1, 3 and 4 of R = 3: MAP@R = (1/1 + 2/3) / 3, R-precision = 2/3."""
    query = LabelledVectors(on_circle(0), number(7), number(0))
    gallery = LabelledVectors(on_circle(1, 2, 3, 4), number(7, 8, 7, 7), number(1, 2, 3, 4))
    figures = evaluate(query, gallery, (1,))
    assert figures.map_at_r == pytest.approx((1 + 2 / 3) / 3)
    assert figures.r_precision == pytest.approx(2 / 3)
    assert figures.recall == {1: 1.0}


def test_a_copy_with_another_id_is_an_answer() -> None:
    """All vectors are the same, so that the query stands anywhere among its own neighbours: only its id tells it."""
    pictures = LabelledVectors(on_circle(0, 0, 0, 0), number(1, 2, 1, 2), number(10, 11, 12, 13))
    figures = evaluate(pictures, pictures, (1, 2, 3))
    # Neighbours by position: 0 sees 1 2 3, 1 sees 0 2 3, 2 sees 0 1 3, 3 sees 0 1 2; R is 1 for all.
    assert figures.per_query.first_match.tolist()[:3] == [2, 3, 1]
    assert figures.recall == {1: 0.25, 2: 0.75, 3: 1.0}
    assert figures.map_at_r == 0.25


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    pictures = pack([Picture(i, int(random.integers(0, 9)), int(random.integers(0, 20))) for i in range(60)])
    whole = evaluate(pictures, pictures)
    monkeypatch.setattr("index.evaluation.retrieval._NEIGHBOURS_AT_ONCE", 150)  # a few queries at a time
    sizes = []

    def search(queries: Vectors, gallery: Vectors, k: int) -> tuple[Vectors, Ids]:
        sizes.append(len(queries))
        return search_exact(queries, gallery, k)

    assert evaluate(pictures, pictures, search=search) == whole
    assert len(sizes) > 4
    assert sum(sizes) == 60


@pytest.mark.parametrize(
    ("vectors", "labels", "ids", "error", "text"),
    [
        (on_circle(0, 1) * 2, number(0, 0), number(0, 1), VectorError, "row 0 is no unit vector"),
        (on_circle(0, float("nan")), number(0, 0), number(0, 1), VectorError, "row 1 is no unit vector"),
        (on_circle(0, 1).astype(np.float64), number(0, 0), number(0, 1), VectorError, "float64"),
        (on_circle(0)[0], number(0, 0), number(0, 1), VectorError, "not an array of vectors"),
        (on_circle(0, 1), number(0), number(0, 1), UsageError, "the labels do not fit"),
        (on_circle(0, 1), number(0, 0), number(0, 1).astype(np.int32), UsageError, "the ids do not fit"),
        (on_circle(0, 1), number(0, 0), number(4, 4), UsageError, "an id is there twice"),
    ],
)
def test_refuses_what_does_not_fit(vectors: Vectors, labels: Ids, ids: Ids, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        LabelledVectors(vectors, labels, ids)


def test_refuses_questions_without_sense() -> None:
    two = LabelledVectors(on_circle(0, 1), number(0, 0), number(0, 1))
    three = LabelledVectors(np.eye(3, dtype=np.float32), number(0, 0, 0), number(0, 1, 2))
    with pytest.raises(VectorError, match="expected 2, found 3"):
        evaluate(two, three)
    for ks in ((), (0, 1)):
        with pytest.raises(UsageError, match="k of at least 1"):
            evaluate(two, two, ks)
