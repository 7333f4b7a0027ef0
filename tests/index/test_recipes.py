"""Recipes: every kind of FAISS index leaves out what it is told to, and what can not do so is refused in one line."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from index.errors import UsageError
from index.recipes import Recipe, build_faiss, parse_recipe, search_faiss
from index.types import Ids
from tests.vector_gallery import draw_rows

NONE: Ids = np.empty(0, dtype=np.int64)
GOOD = ["flat", "hnsw", "IVF8,Flat", "IVF8_HNSW8,Flat", "HNSW8_SQ8", "SQ8", "PCA8,Flat", "PCA8,IVF8,Flat", "PCA8,HNSW8"]
ROWS = 400


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_never_returns_an_excluded_entry(name: str, share: float, tmp_path: Path) -> None:
    """Built, and mapped from a file as readers do; the query is often one of the excluded rows."""
    rows = draw_rows(ROWS)
    built = build_faiss(rows, parse_recipe(name))
    faiss.write_index(built, str(tmp_path / "index"))
    random = np.random.default_rng(1)
    excluded = np.sort(random.choice(ROWS, size=int(share * ROWS), replace=False))
    for index in (built, faiss.read_index(str(tmp_path / "index"), faiss.IO_FLAG_MMAP_IFC)):
        for number in range(0, ROWS, 80):
            for wanted in (1, 10, ROWS, 5 * ROWS):
                found = search_faiss(index, rows[number], wanted, excluded)
                assert not np.isin(found, excluded).any()
                assert len(np.unique(found)) == len(found) <= min(wanted, ROWS - len(excluded))
                assert found.size == 0 or 0 <= found.min() <= found.max() < ROWS


@pytest.mark.parametrize("name", GOOD)
def test_finds_a_row_by_itself(name: str) -> None:
    rows = draw_rows(ROWS)
    index = build_faiss(rows, parse_recipe(name))
    found = [number in search_faiss(index, rows[number], 40, NONE) for number in range(ROWS)]
    assert np.mean(found) >= (0.9 if "PCA" in name else 0.99)


def test_flat_is_exact_and_complete() -> None:
    rows, excluded = draw_rows(ROWS), np.arange(0, ROWS, 3)
    index = build_faiss(rows, parse_recipe("flat"))
    for query in draw_rows(5, seed=3):
        order = np.argsort(-(rows.astype(np.float64) @ query.astype(np.float64)))
        assert search_faiss(index, query, ROWS, NONE).tolist() == order.tolist()
        living = order[~np.isin(order, excluded)]
        assert search_faiss(index, query, ROWS, excluded).tolist() == living.tolist()
        assert search_faiss(index, query, 7, excluded).tolist() == living[:7].tolist()


def test_everything_excluded() -> None:
    rows = draw_rows(30)
    for name in ("flat", "hnsw"):
        assert search_faiss(build_faiss(rows, parse_recipe(name)), rows[0], 5, np.arange(30)).tolist() == []


def test_hnsw_looks_further_when_more_is_asked_for() -> None:
    index = build_faiss(draw_rows(ROWS), parse_recipe("hnsw"))
    assert len(search_faiss(index, draw_rows(1, seed=2)[0], 300, NONE)) == 300


def test_names_and_factory_strings() -> None:
    assert parse_recipe("flat") == Recipe("flat", "Flat")
    assert parse_recipe("hnsw") == Recipe("hnsw", "HNSW32")
    assert parse_recipe("IVF8,SQ8") == Recipe("IVF8,SQ8", "IVF8,SQ8")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "nonsense",
            "nonsense: no such recipe (expected flat, hnsw or a FAISS factory string, "
            "found could not parse index string nonsense)",
        ),
        ("", "no such recipe (expected flat, hnsw or a FAISS factory string, found could not parse index string )"),
        (
            "IDMap,Flat",
            "IDMap,Flat: this factory string is not for snapshots; ids and refinement are ours: leave them out",
        ),
        *(
            (name, f"{name}: this factory string is not for snapshots; ids and refinement are ours: leave them out")
            for name in ("Flat,RFlat", "IVF8,Flat,Refine(Flat)", "IDMap2,Flat")
        ),
        *(
            (
                name,
                f"{name}: this kind of index can not leave entries out of a search "
                "(expected flat, hnsw, or IVF, HNSW or SQ in a FAISS factory string)",
            )
            for name in ("PQ8", "PQ8x4fs", "PCA16,PQ8", "NSG16", "LSQ2x4")
        ),
    ],
)
def test_bad_strings_give_one_line(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe(text)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("name", "count", "size", "found"),
    [("IVF64,Flat", 20, 16, "training points"), ("PCA32,Flat", 200, 16, ""), ("IVF2,PQ8", 400, 12, "dimension")],
)
def test_vectors_that_do_not_fit(name: str, count: int, size: int, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_faiss(draw_rows(count, size=size), parse_recipe(name))
    line = str(caught.value)
    expected = f"{name}: the recipe does not fit these vectors (expected one for {count} vectors of {size}, found "
    assert line.startswith(expected)
    assert found in line
    assert line.endswith("; choose another --recipe")
    assert "\n" not in line
