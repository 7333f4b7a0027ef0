"""Exact search against sorting everything, on vectors whose products are exact, so that ties really tie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from index.exact_search import Chunks, _pack, centre, search_exact, search_nearest
from index.types import Vectors

# Small whole numbers: their inner products are whole and exact in float32, in whatever order they are summed.
GRID = st.integers(-3, 3).map(float)


def draw_vectors(most: int) -> st.SearchStrategy[Vectors]:
    return arrays.arrays(np.float32, st.tuples(st.integers(1, most), st.just(3)), elements=GRID)


def sort_everything(queries: Vectors, gallery: Vectors, k: int) -> list[list[tuple[float, int]]]:
    """The k best (score, position) of each query, by plain loops."""
    found = []
    for query in queries:
        scores = [sum(float(a) * float(b) for a, b in zip(query, row, strict=True)) for row in gallery]
        ranked = sorted(range(len(gallery)), key=lambda position: (-scores[position], position))
        found.append([(scores[position], position) for position in ranked[:k]])
    return found


@settings(deadline=None)
@given(
    queries=draw_vectors(6),
    gallery=draw_vectors(20),
    k=st.integers(1, 20),
    chunks=st.builds(Chunks, queries=st.integers(1, 7), gallery=st.integers(1, 21)),
)
def test_finds_what_sorting_everything_finds(queries: Vectors, gallery: Vectors, k: int, chunks: Chunks) -> None:
    k = min(k, len(gallery))
    expected = sort_everything(queries, gallery, k)
    for scores, positions in (search_exact(queries, gallery, k), search_exact(queries, gallery, k, chunks)):
        assert scores.dtype == np.float32
        assert positions.dtype == np.int64
        assert [
            list(zip(*row, strict=True)) for row in zip(scores.tolist(), positions.tolist(), strict=True)
        ] == expected


def test_copies_come_in_their_order() -> None:
    gallery = np.ones((40, 4), np.float32)
    _, positions = search_exact(gallery[:1], gallery, 30, Chunks(queries=1, gallery=7))
    assert positions.tolist() == [list(range(30))]


def test_zero_and_minus_zero_tie() -> None:
    """Not every BLAS gives -0.0, so the keys are looked at: they order as (score descending, position) does."""
    scores = np.array([[-0.0, 0.0, -1.5, 1e-30, -1e-30, -0.0, 1.0]], np.float32)
    assert np.argsort(_pack(scores, np.arange(7))).tolist() == [[6, 3, 0, 1, 5, 4, 2]]


@pytest.mark.parametrize("k", [1, 10, 500, 3000])
@pytest.mark.parametrize("chunks", [Chunks(), Chunks(queries=16, gallery=700)])
def test_real_vectors(k: int, chunks: Chunks) -> None:
    random = np.random.default_rng(5)
    gallery = random.normal(size=(3000, 64)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = gallery[:50]
    scores, positions = search_exact(queries, gallery, k, chunks)
    products = queries.astype(np.float64) @ gallery.T.astype(np.float64)
    np.testing.assert_allclose(scores, np.take_along_axis(products, positions, axis=1), atol=1e-6)
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :k], atol=1e-6)


@settings(deadline=None)
@given(
    data=st.data(),
    k=st.integers(1, 12),
    chunks=st.builds(Chunks, queries=st.integers(1, 4), gallery=st.integers(60, 300)),
)
def test_the_guess_of_a_limit_misses_nothing(data: st.DataObject, k: int, chunks: Chunks) -> None:
    """Galleries wide enough for a guess, with ties, in an order that misleads it."""
    values = data.draw(st.lists(st.integers(-4, 4), min_size=60, max_size=300))
    if data.draw(st.booleans()):
        values.sort(reverse=data.draw(st.booleans()))
    gallery = np.array(values, np.float32)[:, None]
    queries = np.array([[1.0], [-1.0], [0.0]], np.float32)
    _, positions = search_exact(queries, gallery, k, chunks)
    assert positions.tolist() == [
        sorted(range(len(values)), key=lambda place: (-sign * values[place], place))[:k] for sign in (1, -1, 0)
    ]


def test_best_columns_that_the_guess_never_looks_at() -> None:
    """Every 16th column scores worst, or best: the guess is too high, or too low."""
    for low in (-1.0, 1.0):
        gallery = np.random.default_rng(0).normal(size=(4096, 1)).astype(np.float32)
        gallery[::16] = low * 100 + np.arange(256, dtype=np.float32)[:, None]
        _, positions = search_exact(np.ones((1, 1), np.float32), gallery, 300)
        assert positions[0].tolist() == np.argsort(-gallery[:, 0], kind="stable")[:300].tolist()


@pytest.mark.parametrize("k", [1, 40, 900])
def test_nearest_by_distance(k: int) -> None:
    """Vectors of all lengths, far from the origin: against every distance in float64."""
    random = np.random.default_rng(6)
    gallery = (random.normal(size=(900, 16)) * random.uniform(0.1, 3, (900, 1)) + 50).astype(np.float32)
    queries = (random.normal(size=(20, 16)) + 50).astype(np.float32)
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - gallery[None].astype(np.float64), axis=2)
    scores, positions = search_nearest(*centre(queries, gallery), k, Chunks(queries=7, gallery=400))
    found = np.take_along_axis(distances, positions, axis=1)
    np.testing.assert_allclose(found, np.sort(distances, axis=1)[:, :k], atol=1e-4)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("size", [3, 384, 1000])
@pytest.mark.parametrize("queries", [1, 3, 37])
@pytest.mark.parametrize("search", [search_exact, search_nearest])
def test_copies_tie_wherever_they_lie(size: int, queries: int, search: Callable[..., Any]) -> None:
    """BLAS rounds the same product in its own way at a matrix's edges; copies must not be told apart by that."""
    random = np.random.default_rng(size)
    gallery = random.normal(size=(531, size)).astype(np.float32)
    copies = np.unique(np.concatenate((np.arange(0, 531, 37), np.arange(500, 531))))
    gallery[copies] = gallery[0]
    gallery[5], gallery[6] = 0.0, -0.0
    asked = random.normal(size=(queries, size)).astype(np.float32)
    for chunks in (Chunks(), Chunks(queries=2, gallery=100)):
        scores, positions = search(asked, gallery, 531, chunks)
        for row in range(queries):
            own = np.isin(positions[row], copies)
            assert len(set(scores[row][own].tolist())) == 1
            assert positions[row][own].tolist() == copies.tolist()
            assert [place for place in positions[row].tolist() if place in (5, 6)] == [5, 6]
