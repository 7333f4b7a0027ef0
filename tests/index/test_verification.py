"""A changed byte in any file of an index is found and named; what a killed write leaves is a note."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.errors import IndexDataError
from index.findings import Finding
from index.layout import Layout
from index.verification import verify_index
from tests.small_index import make_small_index

TABLES = ("sources", "items", "pictures", "generations", "vectors", "changes", "snapshots")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Layout:
    """A small index that is as it should be. Read only."""
    folder = tmp_path_factory.mktemp("verified")
    return make_small_index(folder / "index", tiny_bundle, folder / "pictures")


@pytest.fixture
def layout(whole: Layout, tmp_path: Path) -> Layout:
    """A copy of it to damage."""
    shutil.copytree(whole.folder, tmp_path / "index", ignore=shutil.ignore_patterns("reserve"))
    return Layout(tmp_path / "index")


def flip(path: Path, place: int, by: int = 0xFF) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= by
    path.write_bytes(data)


def faults(layout: Layout) -> list[Finding]:
    """What is wrong with an index."""
    return [one for one in verify_index(layout) if one.kind == "fault"]


def test_a_whole_index_has_no_fault(whole: Layout) -> None:
    assert faults(whole) == []
    # The thumbnails of what was removed and replaced stay for `compact`.
    assert {one.what for one in verify_index(whole)} == {"no item needs this file"}


def files_that_answers_hang_on(layout: Layout) -> list[Path]:
    """Every file with content but the catalogue, and thumbnails of items that are gone."""
    idle = {Path(one.where) for one in verify_index(layout)}
    files = [path for path in sorted(layout.folder.rglob("*")) if path.is_file() and path.stat().st_size]
    return [path for path in files if path not in idle and path != layout.catalog and path.name != "reserve"]


def test_a_changed_byte_in_any_file_is_found_and_named(layout: Layout) -> None:
    random = np.random.default_rng(4)
    files = files_that_answers_hang_on(layout)
    assert {path.name for path in files} >= {"CURRENT", "model.onnx", "golden.npz", "vectors.f32", "manifest.json"}
    for path in files:
        whole = path.read_bytes()
        places = {0, len(whole) - 1, *random.integers(0, len(whole), 3).tolist()}
        if path.name == "vectors.f32":  # row 0 is never used, and rows 4 (removed) and 2 (replaced) count no more
            places = {64 * row + int(random.integers(64)) for row in (1, 3, 5, 6, 7, 8)}
        for place in places:
            flip(path, place, int(random.integers(1, 256)))
            assert str(path) in {one.where for one in faults(layout)}, f"byte {place} of {path}"
            path.write_bytes(whole)
    assert faults(layout) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_changed_byte_of_the_catalogue_is_found_or_changes_nothing(layout: Layout, seed: int) -> None:
    random = np.random.default_rng(seed)
    good, rows = layout.catalog.read_bytes(), read_tables(layout.catalog)
    content = np.flatnonzero(np.frombuffer(good, dtype=np.uint8))  # most of a small catalogue is free space
    found = 0
    places = [*random.choice(content, 20, replace=False).tolist(), *random.integers(0, len(good), 5).tolist()]
    for place in places:
        flip(layout.catalog, place, int(random.integers(1, 256)))
        wrong = faults(layout)
        found += bool(wrong)
        assert all(one.where for one in wrong)
        if not wrong:
            assert read_tables(layout.catalog) == rows, f"byte {place}"
        layout.catalog.write_bytes(good)
        for end in ("-wal", "-shm"):
            layout.catalog.with_name(f"{layout.catalog.name}{end}").unlink(missing_ok=True)
    assert found >= 18  # a change that nothing finds is rare where there is content


def read_tables(path: Path) -> list[list[tuple[object, ...]]]:
    """Every row of a catalogue."""
    db = sqlite3.connect(path)
    try:
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
    finally:
        db.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE pictures SET content_hash = 'other' WHERE id = 3", "a row of pictures"),
        ("UPDATE pictures SET path = 'elsewhere.png' WHERE id = 3", "a row of pictures"),
        ("UPDATE sources SET root = '/elsewhere'", "a row of sources"),
        ("UPDATE items SET label = 'other' WHERE id = 3", "a row of items"),
        ("UPDATE generations SET recipe = 'hnsw'", "a row of generations"),
        ("UPDATE snapshots SET recall = 0.5", "a row of snapshots"),
        ("UPDATE changes SET item_id = 99 WHERE number = 3", "a row of changes"),
        ("DELETE FROM changes WHERE number = (SELECT max(number) FROM changes)", "does not end with its last number"),
        ("DELETE FROM vectors WHERE picture_id = 3", "there is no row of green/green-0.png"),
        ("UPDATE vectors SET crc = crc + 1 WHERE picture_id = 3", "the row of green/green-0.png is not"),
        ("DELETE FROM pictures WHERE id = 3", "the item has no picture: green/green-0.png"),
        ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'items'", "is behind ids in use"),
        ("DROP INDEX pictures_by_item", "the definition of pictures_by_item"),
    ],
)
def test_a_catalogue_that_contradicts_itself(layout: Layout, statement: str, said: str) -> None:
    db = sqlite3.connect(layout.catalog)
    db.execute(statement)
    db.commit()
    db.close()
    assert any(said in one.what for one in faults(layout))


def test_a_trimmed_log_is_whole_where_no_snapshot_needs_what_went(layout: Layout) -> None:
    with CatalogWriter(layout.catalog) as catalog:
        compact_index(layout, catalog)
        compact_index(layout, catalog)  # trims what the first has sealed
        with catalog.writing():
            catalog.delete_snapshot(catalog.active_generation())
        assert catalog.changes_after(0).added.size == 0  # trimmed
    assert faults(layout) == []


def test_missing_files_are_faults_unless_the_index_answers_without_them(layout: Layout) -> None:
    layout.current.unlink()
    thumbnail = layout.folder / "thumbnails/eb/ebcbc80227b8f81e4a91537ad3737ab3b9128eab518040db900c7687bc2b4032.jpg"
    thumbnail.unlink()
    for path in layout.folder.glob("originals/*/*"):
        path.unlink()
    found = {one.what.partition(",")[0]: one.kind for one in verify_index(layout)}
    assert found["CURRENT does not name the active generation"] == "fault"
    assert found["2 items have no picture here: blue/blue-1.jpg"] == "note"
    assert [kind for what, kind in found.items() if "the thumbnail of" in what] == ["note"]
    assert len(faults(layout)) == 1


def test_what_a_source_changed_is_a_note(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "pictures")
    (tmp_path / "pictures/red/red-0.png").unlink()
    flip(tmp_path / "pictures/red/red-1.jpg", 100)
    found = {one.what: one.kind for one in verify_index(layout) if "the picture of" in one.what}
    assert found == {
        "the picture of red/red-0.png is missing": "note",
        "the picture of red/red-1.jpg has changed since it was indexed": "note",
    }
    flip(layout.vectors("0001-" + tiny_bundle.manifest.model_id[:8]), 64 * 5)  # red-0's row: now it is needed
    assert any(one.what == "the picture of red/red-0.png is missing" for one in faults(layout))


def test_what_a_killed_write_leaves_is_a_note(layout: Layout, tiny_bundle: Bundle) -> None:
    generation = layout.generation("0001-" + tiny_bundle.manifest.model_id[:8])
    (layout.folder / "generations/0002-abcdefgh").mkdir()
    (generation / ".snapshot-9.faiss-x").write_bytes(b"half")
    (layout.folder / "originals/ab").mkdir()
    (layout.folder / "originals/ab/abcd").write_bytes(b"no item's")
    with (generation / "vectors.f32").open("ab") as file:
        file.write(b"x" * 640)
    next(layout.folder.glob("thumbnails/*/*")).write_bytes(b"")
    assert faults(layout) == []
    assert len(verify_index(layout)) >= 6


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(IndexDataError, match="not an index"):
        verify_index(Layout(tmp_path))
