"""Export and import: what goes out comes in bit for bit; what does not fit is refused and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.additions import IndexEditor
from index.bundle import Bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.embedding import embed_source
from index.encoder_pool import EncoderPool
from index.errors import (
    CrossmatchError,
    IndexDataError,
    ModelMismatchError,
    OriginalMissingError,
    SourceError,
    VectorError,
)
from index.exchange import ImportPlan, ImportReport, export_items, import_vectors
from index.generations import EncodingPlan, build_generation
from index.images import ImageLimits
from index.layout import Layout
from index.originals import read_original
from index.searcher import Searcher
from index.sources import read_source
from index.types import Vectors
from index.writer import Edit
from tests.vector_gallery import add_rows, answers, apply, draw_rows, make_index, remove_items, seal

PLAN = ImportPlan()


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """Ten sealed items, one of them edited, one removed; and two more that are not sealed."""
    layout = make_index(tmp_path / "index", tiny_bundle)
    add_rows(layout, draw_rows(10))
    seal(layout)
    apply(layout, [Edit(3, "three", "drei", {"price": 3.5, "ü": None})])
    remove_items(layout, [5])
    add_rows(layout, draw_rows(2, seed=1), "late")
    return layout


def export(layout: Layout, output: Path) -> Path:
    with Catalog(layout.catalog) as catalog:
        report = export_items(layout, catalog, output)
    assert report.items == 11
    return output


def take_in(layout: Layout, path: Path, plan: ImportPlan = PLAN) -> ImportReport:
    with CatalogWriter(layout.catalog) as catalog:
        return import_vectors(layout, catalog, path, plan)


def write_npy(folder: Path, rows: Any, model: str | None, keys: Sequence[str] | None = None) -> Path:
    np.save(folder / "x.npy", rows)
    keys = keys or [f"new-{number}" for number in range(len(rows))]
    (folder / "x.jsonl").write_text("".join(json.dumps({"key": key, "model": model}) + "\n" for key in keys))
    return folder / "x.npy"


def state(layout: Layout) -> tuple[int, int]:
    """The change number, and how many items there are."""
    with Catalog(layout.catalog) as catalog:
        return catalog.change_number(), catalog.count_items()


def ask(layout: Layout, query: Vectors, model: str) -> list[tuple[str, str | None, dict[str, Any], float]]:
    with Searcher(layout.folder) as searcher:
        matches = searcher.search(query, 50, model=model).matches
        return [(one.item.key, one.item.label, one.item.metadata, one.score) for one in matches]


@pytest.mark.parametrize("name", ["x.parquet", "x.npy"])
def test_exported_and_imported_index_answers_the_same(
    layout: Layout, tmp_path: Path, tiny_bundle: Bundle, name: str
) -> None:
    other = make_index(tmp_path / "other", tiny_bundle)
    report = take_in(other, export(layout, tmp_path / name))
    assert report == ImportReport(11, 0, 0, ())
    model = tiny_bundle.manifest.model_id
    for query in draw_rows(3, seed=2):
        assert ask(other, query, model) == ask(layout, query, model)
    assert ("three", "drei", {"price": 3.5, "ü": None}) in [one[:3] for one in ask(other, query, model)]


def test_importing_an_index_into_itself_changes_nothing(layout: Layout, tmp_path: Path) -> None:
    path, before = export(layout, tmp_path / "x.npy"), state(layout)
    assert take_in(layout, path) == ImportReport(0, 0, 11, ())
    assert state(layout) == before


def test_other_content_under_a_key_is_left_alone_or_replaced(
    layout: Layout, tmp_path: Path, tiny_bundle: Bundle
) -> None:
    model, row = tiny_bundle.manifest.model_id, draw_rows(1, seed=7)
    path = write_npy(tmp_path, row, model, ["item-0"])
    assert take_in(layout, path) == ImportReport(0, 0, 0, ("item-0",))
    assert take_in(layout, path, ImportPlan(overwrite=True)) == ImportReport(0, 1, 0, ())
    assert ask(layout, row[0], model)[0][::3] == ("item-0", 1.0)


@pytest.mark.parametrize(
    ("break_row", "message"),
    [
        (lambda row: row * np.nan, r"row 3 \('new-2'\): the vector is not finite .*length nan"),
        (lambda row: row * np.inf, r"row 3 \('new-2'\): the vector is not finite"),
        (lambda row: row * 0, r"row 3 \('new-2'\): the vector is not of length 1 .*found length 0\)"),
        (lambda row: row * 2, r"row 3 \('new-2'\): the vector is not of length 1 .*found length 2\)"),
    ],
)
def test_one_bad_vector_and_nothing_is_written(
    layout: Layout, tmp_path: Path, tiny_bundle: Bundle, break_row: Callable[[Vectors], Vectors], message: str
) -> None:
    rows, before = draw_rows(5, seed=3), state(layout)
    with np.errstate(invalid="ignore"):
        rows[2] = break_row(rows[2])
    with pytest.raises(VectorError, match=message):
        take_in(layout, write_npy(tmp_path, rows, tiny_bundle.manifest.model_id))
    assert state(layout) == before


def test_bad_vector_in_a_late_block_and_nothing_is_written(
    layout: Layout, tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.vector_files.ROWS", 2)
    rows, before = draw_rows(5, seed=3), state(layout)
    rows[4] = 0
    with pytest.raises(VectorError, match=r"row 5 \('new-4'\)"):
        take_in(layout, write_npy(tmp_path, rows, tiny_bundle.manifest.model_id))
    assert state(layout) == before


def test_what_else_is_refused(layout: Layout, tmp_path: Path, tiny_bundle: Bundle) -> None:
    model, before = tiny_bundle.manifest.model_id, state(layout)
    cases: list[tuple[Any, str | None, list[str] | None, type[CrossmatchError], str]] = [
        (draw_rows(2, size=8), model, None, VectorError, r"row 1 \('new-0'\): .*wrong size .*16, found 8"),
        (draw_rows(2), "ab" * 32, None, ModelMismatchError, f"another model's vectors .*{model}, found abab"),
        (draw_rows(2), None, None, ModelMismatchError, "does not say which model .*--assume-model"),
        (draw_rows(2), model, ["a", "a"], SourceError, "the key 'a' is there twice .*rows 1 and 2"),
        (draw_rows(0), model, None, SourceError, "holds no vectors"),
    ]
    for rows, named, keys, error, message in cases:
        with pytest.raises(error, match=message):
            take_in(layout, write_npy(tmp_path, rows, named, keys))
    assert state(layout) == before


def test_model_may_be_assumed_but_not_overruled(layout: Layout, tmp_path: Path) -> None:
    assert take_in(layout, write_npy(tmp_path, draw_rows(2, seed=4), None), ImportPlan(assume_model=True)).added == 2
    with pytest.raises(ModelMismatchError):
        take_in(layout, write_npy(tmp_path, draw_rows(2), "ab" * 32), ImportPlan(assume_model=True))


def test_half_precision_is_made_unit_again(layout: Layout, tmp_path: Path, tiny_bundle: Bundle) -> None:
    model, rows = tiny_bundle.manifest.model_id, draw_rows(3, seed=5)
    take_in(layout, write_npy(tmp_path, rows.astype(np.float16), model))
    with Searcher(layout.folder) as searcher:
        best = answers(searcher.search(rows[0], 1, model=model))[0]
        view_row = searcher.search_item(best[0], 1)
    assert best[1] == pytest.approx(1.0, abs=1e-5)
    assert view_row.matches


def test_big_import_is_few_transactions(layout: Layout, tmp_path: Path, tiny_bundle: Bundle) -> None:
    rows = draw_rows(9000, seed=6)
    assert take_in(layout, write_npy(tmp_path, rows, tiny_bundle.manifest.model_id)).added == 9000
    for number in (0, 4095, 4096, 8999):
        assert ask(layout, rows[number], tiny_bundle.manifest.model_id)[0][0] == f"new-{number}"


def test_another_model_names_the_imported_items_it_can_not_encode(
    tmp_path: Path, tiny_bundle: Bundle, make_tiny_bundle: Callable[..., Bundle]
) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    take_in(layout, write_npy(tmp_path, draw_rows(2), tiny_bundle.manifest.model_id))
    other = make_tiny_bundle(tmp_path / "other-bundle", seed=1)
    with (
        CatalogWriter(layout.catalog) as catalog,
        pytest.raises(OriginalMissingError, match=r"2 items can not be encoded again .*new-0, new-1"),
    ):
        build_generation(layout, catalog, other, "flat", EncodingPlan(threads=1))


def test_damaged_row_is_not_exported(layout: Layout, tmp_path: Path) -> None:
    with Catalog(layout.catalog) as catalog:
        path = layout.vectors(catalog.active_generation().name)
    data = bytearray(path.read_bytes())
    data[2 * 64 + 5] ^= 1  # picture 2
    path.write_bytes(data)
    with pytest.raises(IndexDataError, match=r"a row is not what was written .*'item-1'"):
        export(layout, tmp_path / "x.npy")
    assert not list(tmp_path.glob("*x.*"))


def test_adding_the_pictures_gives_imported_items_their_originals(
    tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path
) -> None:
    embed_source(read_source(own_pictures), EncoderPool(tiny_bundle, 1), tmp_path / "x.npy")
    layout = make_index(tmp_path / "index", tiny_bundle)
    assert take_in(layout, tmp_path / "x.npy").added == 24
    with CatalogWriter(layout.catalog) as catalog:
        record = catalog.picture_of_item(1)
        with pytest.raises(OriginalMissingError):
            read_original(layout, record, ImageLimits())
        report = IndexEditor(layout, catalog, threads=1).add(read_source(own_pictures).pictures)
        assert (report.added, report.kept) == (0, 24)
        assert read_original(layout, record, ImageLimits()).data == (own_pictures / record.key).read_bytes()
