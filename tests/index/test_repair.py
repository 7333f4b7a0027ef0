"""What is derived heals, and nothing else is touched."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.layout import Layout
from index.repair import heal_snapshot, repair_index
from index.searcher import Searcher
from index.verification import verify_index
from tests.index.test_verification import files_that_answers_hang_on, flip
from tests.small_index import Answer, ask, make_small_index


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Layout:
    """A small index that is as it should be. Read only."""
    folder = tmp_path_factory.mktemp("repaired")
    return make_small_index(folder / "index", tiny_bundle, folder / "pictures")


@pytest.fixture(scope="module")
def expected(whole: Layout) -> dict[str, Answer]:
    """What it answers."""
    return ask(whole)


@pytest.fixture
def layout(whole: Layout, tmp_path: Path) -> Layout:
    """A copy of it to damage."""
    shutil.copytree(whole.folder, tmp_path / "index")
    return Layout(tmp_path / "index")


def remaining(layout: Layout) -> list[str]:
    """Faults that an index has."""
    return [one.what for one in verify_index(layout) if one.remains]


def test_every_derived_file_heals(layout: Layout, expected: dict[str, Answer]) -> None:
    derived = {"CURRENT", "vectors.f32", "manifest.json"}
    files = [
        path
        for path in files_that_answers_hang_on(layout)
        if (path.name in derived or "snapshot" in path.name or "thumbnails" in path.parts) and "model" not in path.parts
    ]
    assert len(files) >= 9
    for path in files:
        if not path.exists():  # a snapshot that was sealed again under another name
            continue
        flip(path, path.stat().st_size - 5)
        found = [one for one in repair_index(layout) if one.kind == "fault"]
        assert found, path
        assert all(one.healed for one in found), found
        assert remaining(layout) == []
    assert ask(layout) == expected


@pytest.mark.parametrize("name", ["model/model.onnx", "model/golden.npz", "model/manifest.json"])
def test_what_is_not_derived_is_named_and_left(layout: Layout, tiny_bundle: Bundle, name: str) -> None:
    path = layout.generation("0001-" + tiny_bundle.manifest.model_id[:8]) / name
    flip(path, path.stat().st_size // 2, 1)
    damaged = path.read_bytes()
    assert any(one.remains and one.where == str(path) for one in repair_index(layout))
    assert path.read_bytes() == damaged
    assert remaining(layout)


def test_a_row_without_its_picture_is_named_by_key(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "pictures")
    (tmp_path / "pictures/green/green-0.png").write_bytes(b"another picture")
    rows = layout.vectors("0001-" + tiny_bundle.manifest.model_id[:8])
    flip(rows, 64 * 3)
    damaged = rows.read_bytes()
    wrong = [one for one in repair_index(layout) if one.remains]
    assert any("the row of green/green-0.png" in one.what and "not healed" in one.what for one in wrong)
    assert rows.read_bytes() == damaged


def test_a_file_of_rows_that_was_cut_heals(layout: Layout, tiny_bundle: Bundle, expected: dict[str, Answer]) -> None:
    rows = layout.vectors("0001-" + tiny_bundle.manifest.model_id[:8])
    rows.write_bytes(rows.read_bytes()[:200])
    repair_index(layout)
    assert remaining(layout) == []
    assert ask(layout) == expected


def test_a_damaged_index_of_the_catalogue_is_built_again(layout: Layout, expected: dict[str, Answer]) -> None:
    db = sqlite3.connect(layout.catalog)
    root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pictures_by_item'").fetchone()[0]
    db.close()
    flip(layout.catalog, 4096 * root - 1, 1)  # the last byte of the page: in the first entry
    assert remaining(layout)
    repair_index(layout)
    assert remaining(layout) == []
    assert ask(layout) == expected


def test_a_snapshot_heals_beside_a_reader(
    layout: Layout, expected: dict[str, Answer], caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = next(layout.folder.glob("generations/*/*.faiss"))
    flip(snapshot, 100)
    with Searcher(layout.folder) as reader, CatalogWriter(layout.catalog) as catalog:
        assert "searching all rows exactly" in caplog.text
        assert reader.unsealed()[0] == 6  # every row is searched
        assert ask(layout) == expected
        with caplog.at_level(logging.WARNING):
            assert heal_snapshot(layout, catalog)
        assert "sealed again" in caplog.text
        assert reader.unsealed() == (0, 0)
        assert not heal_snapshot(layout, catalog)
    assert ask(layout) == expected
    assert remaining(layout) == []


def test_a_missing_snapshot_heals(layout: Layout, expected: dict[str, Answer]) -> None:
    for path in layout.folder.glob("generations/*/snapshot-*"):
        path.unlink()
    assert ask(layout) == expected
    with CatalogWriter(layout.catalog) as catalog:
        assert heal_snapshot(layout, catalog)
    assert ask(layout) == expected


def test_the_reserve_heals(layout: Layout) -> None:
    flip(layout.folder / "reserve", 1234)
    assert remaining(layout) == ["the reserve is not what was set aside"]
    repair_index(layout)
    assert remaining(layout) == []
