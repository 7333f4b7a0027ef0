"""Pages, strategies and bounds together, against brute force over all vectors; every state of snapshot and delta."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index.bundle import Bundle
from index.errors import CursorError, CursorExpiredError, UsageError
from index.layout import Layout
from index.queries import Bounds, Page, Query, Strategy
from index.searcher import Searcher
from index.types import SearchResult, Vectors
from tests.indexed_pictures import build, swap
from tests.tiny_model import tiny_calibration, write_tiny_bundle
from tests.vector_gallery import (
    Answers,
    add_rows,
    answers,
    draw_rows,
    expect,
    make_index,
    number_rows,
    remove_items,
    seal,
)


@pytest.fixture
def rows(layout: Layout) -> Vectors:
    """200 vectors, 120 of them sealed, 40 near-copies among them; items 7 and 8 are gone."""
    rows = draw_rows(200)
    rows[100:120] = rows[100]
    rows[160:180] = rows[160]
    add_rows(layout, rows[:120], prefix="a")
    seal(layout)
    add_rows(layout, rows[120:], prefix="b")
    remove_items(layout, [7, 8])
    return rows


@pytest.fixture
def searcher(layout: Layout, rows: Vectors) -> Iterator[Searcher]:
    with Searcher(layout.folder) as searcher:
        yield searcher


def living(rows: Vectors) -> dict[int, Vectors]:
    return {item: row for item, row in number_rows(rows).items() if item not in (7, 8)}


def expect_best(gallery: dict[int, Vectors], near: Vectors, far: Vectors) -> Answers:
    """By the nearest positive; left out where a negative is as near."""
    scored = []
    for item, row in gallery.items():
        score = max(expect({item: row}, one, 1)[0][1] for one in near)
        if all(expect({item: row}, one, 1)[0][1] < score for one in far):
            scored.append((item, score))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


def walk(searcher: Searcher, query: Query, k: int, bounds: Bounds = Bounds()) -> tuple[Answers, int]:  # noqa: B008
    """All pages together, and how many there were."""
    found: Answers = []
    cursor, pages = None, 0
    while True:
        result = searcher.ask(query, Page(k, cursor), bounds)
        found, cursor, pages = found + answers(result), result.next_cursor, pages + 1
        assert len(result.matches) == k or cursor is None
        if cursor is None:
            return found, pages


def query_of(searcher: Searcher, near: Vectors, far: Vectors, strategy: Strategy) -> Query:
    return Query(tuple(near), tuple(far), strategy=strategy, model=searcher.generation.model_id)


@pytest.mark.parametrize("seed", range(6))
def test_best_of_several_with_negatives(searcher: Searcher, rows: Vectors, seed: int) -> None:
    drawn = draw_rows(5, 100 + seed)
    near, far = drawn[: 1 + seed % 3], drawn[3 : 3 + seed % 2 + (seed > 3)]
    expected = expect_best(living(rows), near, far)
    query = query_of(searcher, near, far, Strategy.BEST)
    for k in (1, 10, 150, 500):
        assert answers(searcher.ask(query, Page(k))) == expected[:k]


@pytest.mark.parametrize("k", [1, 7, 50, 198, 199, 1000])
@pytest.mark.parametrize("strategy", list(Strategy))
def test_pages_together_are_one_big_page(searcher: Searcher, k: int, strategy: Strategy) -> None:
    drawn = draw_rows(4, 5)
    query = query_of(searcher, drawn[:2], drawn[2:3], strategy)
    for bounds in (Bounds(), Bounds(min_score=0.1, exclude=frozenset({3, 101, 161}))):
        whole = answers(searcher.ask(query, Page(1000), bounds))
        found, pages = walk(searcher, query, k, bounds)
        assert found == whole
        assert pages == max(1, -(-len(whole) // k))


def test_pages_split_copies_by_id(searcher: Searcher, rows: Vectors) -> None:
    query = query_of(searcher, rows[100:101], rows[:0], Strategy.AVERAGE)
    assert walk(searcher, query, 3)[0] == expect(living(rows), rows[100], 200)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_items_as_positives_and_negatives(searcher: Searcher, rows: Vectors, strategy: Strategy) -> None:
    by_items = Query(positive_ids=(3, 130), negative_ids=(50,), strategy=strategy)
    by_vectors = query_of(searcher, rows[[2, 129]], rows[[49]], strategy)
    excluded = Bounds(exclude=frozenset({3, 130, 50}))
    assert answers(searcher.ask(by_items, Page(300))) == answers(searcher.ask(by_vectors, Page(300), excluded))


def test_what_is_written_between_pages(layout: Layout, searcher: Searcher, rows: Vectors) -> None:
    """None that stays is passed over or comes twice; what comes before the cursor is not shown, what comes after is."""
    query = query_of(searcher, rows[:1], rows[:0], Strategy.AVERAGE)
    first = searcher.ask(query, Page(20))
    rest = [pair for pair in expect(living(rows), rows[0], 200) if pair not in answers(first)]
    add_rows(layout, np.stack([rows[0], -rows[0]]), prefix="new")  # 201 is best of all, 202 the last
    remove_items(layout, [first.matches[-1].item.id, rest[0][0], rest[5][0]])
    seal(layout)
    second = searcher.ask(query, Page(1000, first.next_cursor))
    gone = (rest[0], rest[5])
    assert answers(second) == [*[pair for pair in rest if pair not in gone], (202, -1.0)]


def test_a_cursor_is_of_one_question(searcher: Searcher, rows: Vectors) -> None:
    query = query_of(searcher, rows[:2], rows[:0], Strategy.AVERAGE)
    cursor = searcher.ask(query, Page(5)).next_cursor
    searcher.ask(query, Page(50, cursor))  # another k is no other question
    for other, bounds in (
        (query_of(searcher, rows[:1], rows[:0], Strategy.AVERAGE), Bounds()),
        (query_of(searcher, rows[:2], rows[:0], Strategy.BEST), Bounds()),
        (query, Bounds(min_score=0.1)),
        (query, Bounds(exclude=frozenset({9}))),
    ):
        with pytest.raises(CursorError):
            searcher.ask(other, Page(5, cursor), bounds)


def test_depth_is_bounded(searcher: Searcher, rows: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.finding.MAX_DEPTH", 30)
    query = query_of(searcher, rows[:1], rows[:0], Strategy.AVERAGE)
    found, pages = walk(searcher, query, 10)
    assert (found, pages) == (expect(living(rows), rows[0], 30), 3)
    cursor = searcher.ask(query, Page(10)).next_cursor
    with pytest.raises(UsageError, match="too deep"):
        searcher.ask(query, Page(21, cursor))


class TestProbabilities:
    @pytest.fixture
    def calibrated(self, tmp_path: Path) -> Iterator[Searcher]:
        layout = make_index(tmp_path / "calibrated", write_tiny_bundle(tmp_path / "bundle", 0, tiny_calibration()))
        add_rows(layout, draw_rows(200))
        with Searcher(layout.folder) as searcher:
            yield searcher

    def ask(self, searcher: Searcher, bounds: Bounds, k: int = 1000, negatives: int = 0) -> SearchResult:
        drawn = draw_rows(3, 9)
        return searcher.ask(query_of(searcher, drawn[:1], drawn[1 : 1 + negatives], Strategy.AVERAGE), Page(k), bounds)

    def test_each_result_has_the_one_of_its_score(self, calibrated: Searcher) -> None:
        result = self.ask(calibrated, Bounds())
        assert [one.probability for one in result.matches] == [
            tiny_calibration().probability(one.score) for one in result.matches
        ]

    @pytest.mark.parametrize("least", [0.0, 0.01, 0.2, 0.4, 0.41, 0.97, 0.98, 0.99, 1.0])
    def test_a_least_probability(self, calibrated: Searcher, least: float) -> None:
        everything = self.ask(calibrated, Bounds())
        expected = [one for one in everything.matches if one.probability is not None and one.probability >= least]
        assert list(self.ask(calibrated, Bounds(min_probability=least)).matches) == expected

    def test_an_average_with_negatives_has_none(self, calibrated: Searcher) -> None:
        assert {one.probability for one in self.ask(calibrated, Bounds(), negatives=1).matches} == {None}
        with pytest.raises(UsageError, match="with negatives in an average"):
            self.ask(calibrated, Bounds(min_probability=0.5), negatives=1)

    def test_no_calibration(self, searcher: Searcher) -> None:
        assert {one.probability for one in self.ask(searcher, Bounds()).matches} == {None}
        with pytest.raises(UsageError, match="bundle has no calibration"):
            self.ask(searcher, Bounds(min_probability=0.5))


def test_a_cursor_ends_with_its_generation(tmp_path: Path, drawn_pictures: Path, tiny_bundle: Bundle) -> None:
    folder = tmp_path / "pictures.index"
    build(drawn_pictures, tiny_bundle, folder)
    with Searcher(folder) as searcher:
        query = Query(positive_ids=(1,))
        cursor = searcher.ask(query, Page(5)).next_cursor
        swap(drawn_pictures, write_tiny_bundle(tmp_path / "other", seed=7), folder)
        with pytest.raises(CursorExpiredError):
            searcher.ask(query, Page(5, cursor))
