"""Exact search against sorting everything, on vectors whose products are exact, so that ties really tie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from index.exact_search import Chunks, _pack, search_exact
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
    assert np.argsort(_pack(scores, 0)).tolist() == [[6, 3, 0, 1, 5, 4, 2]]


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
