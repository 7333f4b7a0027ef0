"""Sealed snapshots: what they hold, that they are replaced and never changed, and when they are not trusted."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from index import snapshot as snapshot_module
from index.bundle import Bundle
from index.catalog import Catalog, Snapshot
from index.catalog_writer import CatalogWriter
from index.errors import IndexDataError
from index.layout import Layout, sync_path
from index.manifest import file_digest
from index.recipes import Recipe, build_faiss, parse_recipe
from index.snapshot import SealedIndex, find_damaged_pictures, measure_recall, open_snapshot, seal_when_due
from index.types import Ids, Vectors
from index.vectors import VectorWriter
from tests.vector_gallery import add_rows, draw_rows, generation_of, make_index, remove_items, seal


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """An index without items."""
    return make_index(tmp_path / "index", tiny_bundle)


def files_of(layout: Layout) -> list[str]:
    """Everything that begins like a snapshot, drafts included."""
    folder = layout.generation(generation_of(layout).name)
    return sorted(path.name for path in folder.iterdir() if "snapshot" in path.name)


NONE: Ids = np.empty(0, dtype=np.int64)


def open_sealed(layout: Layout, snapshot: Snapshot) -> SealedIndex:
    """A snapshot, mapped."""
    index = open_snapshot(layout, generation_of(layout), snapshot, must_exist=True)
    assert index is not None
    return index


def ids_of(layout: Layout, snapshot: Snapshot) -> list[int]:
    """The pictures that a snapshot's files hold."""
    index = open_sealed(layout, snapshot)
    entries = index.search(draw_rows(1)[0], 10_000, NONE)
    return sorted(index.entries.expand(entries).tolist())


def paths_of(layout: Layout, snapshot: Snapshot) -> tuple[Path, Path]:
    """The FAISS file and the one with the entries."""
    folder = layout.generation(generation_of(layout).name)
    return folder / snapshot.file, folder / snapshot.entries_file


def sealed(layout: Layout) -> Snapshot:
    """Seal, and expect a snapshot."""
    snapshot = seal(layout)
    assert snapshot is not None
    return snapshot


def test_nothing_to_seal(layout: Layout) -> None:
    assert seal(layout) is None
    assert files_of(layout) == []


def test_holds_exactly_what_lives(layout: Layout) -> None:
    add_rows(layout, draw_rows(20))
    remove_items(layout, [3, 20])
    snapshot = sealed(layout)
    assert ids_of(layout, snapshot) == [n for n in range(1, 20) if n != 3]
    assert (snapshot.entries, snapshot.pictures, snapshot.recall, snapshot.recipe) == (18, 18, 1.0, "Flat")
    paths = paths_of(layout, snapshot)
    assert (snapshot.digest, snapshot.entries_digest) == tuple(map(file_digest, paths))
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o644] * 2
    with Catalog(layout.catalog) as catalog:
        assert catalog.snapshot(catalog.active_generation()) == snapshot
        assert snapshot.file == f"snapshot-{snapshot.change_number}.faiss"
        changes = catalog.changes_after(snapshot.change_number)
    assert (changes.added.tolist(), changes.removed.tolist(), changes.sealed) == ([], [], True)


@pytest.mark.parametrize("recipe", ["flat", "hnsw"])
def test_identical_vectors_are_one_entry(tmp_path: Path, tiny_bundle: Bundle, recipe: str) -> None:
    layout = make_index(tmp_path / "copies", tiny_bundle, recipe)
    rows = draw_rows(10)[[0, 1, 2, 1, 3, 1, 2, 4]]
    add_rows(layout, rows)
    snapshot = sealed(layout)
    assert (snapshot.entries, snapshot.pictures, snapshot.recipe) == (5, 8, parse_recipe(recipe).factory)
    index = open_sealed(layout, snapshot)
    (entry,) = index.search(rows[1], 1, NONE)
    assert index.entries.expand(np.array([entry])).tolist() == [2, 4, 6]
    assert entry not in index.search(rows[1], 5, np.array([entry]))


def test_another_recipe_is_reason_enough(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    assert sealed(layout).recipe == "Flat"
    with CatalogWriter(layout.catalog) as catalog, catalog.writing():
        catalog.set_recipe(catalog.active_generation(), "hnsw")
    snapshot = sealed(layout)
    assert snapshot.recipe == "HNSW32"
    assert ids_of(layout, snapshot) == [1, 2, 3, 4, 5]


def test_nothing_new_is_not_sealed_again(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    first = sealed(layout)
    with Catalog(layout.catalog) as catalog:
        number = catalog.change_number()
        assert sealed(layout) == first
        assert catalog.change_number() == number


def test_a_newer_one_takes_the_older_ones_place(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    mapped = open_sealed(layout, sealed(layout))
    add_rows(layout, draw_rows(5, seed=1), prefix="more")
    second = sealed(layout)
    assert files_of(layout) == sorted([second.file, second.entries_file])
    assert ids_of(layout, second) == list(range(1, 11))
    for number, row in enumerate(draw_rows(5), start=1):  # who has it mapped keeps it
        assert mapped.entries.expand(mapped.search(row, 1, NONE)).tolist() == [number]


def test_removals_alone_are_reason_enough(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    sealed(layout)
    remove_items(layout, [2])
    assert ids_of(layout, sealed(layout)) == [1, 3, 4, 5]


def test_writers_go_on_while_it_is_sealed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    add_rows(layout, draw_rows(5))

    def build_late(rows: Vectors, recipe: Recipe) -> faiss.Index:
        add_rows(layout, draw_rows(2, seed=1), prefix="late")
        remove_items(layout, [1])
        return build_faiss(rows, recipe)

    monkeypatch.setattr(snapshot_module, "build_faiss", build_late)
    snapshot = sealed(layout)
    assert ids_of(layout, snapshot) == [1, 2, 3, 4, 5]
    with Catalog(layout.catalog) as catalog:
        changes = catalog.changes_after(snapshot.change_number)
    assert (changes.added.tolist(), changes.removed.tolist()) == ([6, 7], [1])


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_a_failed_seal_leaves_the_old_one(layout: Layout, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    add_rows(layout, draw_rows(5))
    first = sealed(layout)
    add_rows(layout, draw_rows(1, seed=1), prefix="more")
    calls = 0

    def fail(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(28, "No space left on device")
        sync_path(path)

    with monkeypatch.context() as patch:
        patch.setattr("index.layout.sync_path", fail)
        with pytest.raises(OSError, match="No space"):
            seal(layout)
    assert {first.file, first.entries_file} <= set(files_of(layout))
    assert not [name for name in files_of(layout) if name.startswith(".")]
    assert ids_of(layout, first) == [1, 2, 3, 4, 5]
    assert ids_of(layout, sealed(layout)) == [1, 2, 3, 4, 5, 6]


def test_damaged_rows_are_not_sealed(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    generation = generation_of(layout)
    with closing(VectorWriter(layout.vectors(generation.name), 16)) as writer:
        writer.write([4], draw_rows(1, seed=9))
    with pytest.raises(IndexDataError) as caught:
        seal(layout)
    assert str(caught.value) == (
        f"{layout.vectors(generation.name)}: rows are not what was written "
        "(expected the CRCs in the catalogue, found others for pictures 4); run `crossmatch index verify --repair`"
    )
    assert files_of(layout) == []
    with Catalog(layout.catalog) as catalog:
        assert find_damaged_pictures(layout, catalog, generation).tolist() == [4]


def test_a_draft_that_lacks_rows_is_not_sealed(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    with CatalogWriter(layout.catalog) as catalog:
        with catalog.writing():
            draft = catalog.insert_generation("0002-ff", "f" * 64, 16, "flat")
        assert snapshot_module.seal_snapshot(layout, catalog, draft) is None


def test_sealed_when_due(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "_FEWEST", 10)
    with CatalogWriter(layout.catalog) as catalog:
        add_rows(layout, draw_rows(10))
        assert seal_when_due(layout, catalog) is None
        add_rows(layout, draw_rows(90, seed=1), prefix="b")
        first = seal_when_due(layout, catalog)
        assert first is not None
        assert first.pictures == 100
        remove_items(layout, range(1, 11))
        add_rows(layout, draw_rows(10, seed=2), prefix="c")
        assert seal_when_due(layout, catalog) == first  # 20 changed are 20 %, and no more
        remove_items(layout, [11])
        second = seal_when_due(layout, catalog)
        assert second is not None
        assert second.pictures == 99


class TestDistrust:
    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize("place", [0, 40, -1])
    def test_a_flipped_byte(self, layout: Layout, caplog: pytest.LogCaptureFixture, which: int, place: int) -> None:
        add_rows(layout, draw_rows(5))
        snapshot = sealed(layout)
        path = paths_of(layout, snapshot)[which]
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        with caplog.at_level(logging.WARNING):
            assert open_snapshot(layout, generation_of(layout), snapshot, must_exist=True) is None
        assert f"{path}: the snapshot is not the one that was sealed" in caplog.text
        assert "searching all rows exactly" in caplog.text

    @pytest.mark.parametrize("which", [0, 1])
    def test_a_missing_file(self, layout: Layout, caplog: pytest.LogCaptureFixture, which: int) -> None:
        add_rows(layout, draw_rows(5))
        snapshot = sealed(layout)
        path = paths_of(layout, snapshot)[which]
        path.unlink()
        with pytest.raises(FileNotFoundError):
            open_snapshot(layout, generation_of(layout), snapshot, must_exist=True)
        with caplog.at_level(logging.WARNING):
            assert open_snapshot(layout, generation_of(layout), snapshot, must_exist=False) is None
        assert f"{path}: the snapshot is missing; searching all rows exactly" in caplog.text

    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize("data", [b"no index", b"", bytes(24)])
    def test_files_that_can_not_be_read(
        self, layout: Layout, caplog: pytest.LogCaptureFixture, which: int, data: bytes
    ) -> None:
        """With a digest that is right, too."""
        add_rows(layout, draw_rows(5))
        snapshot = sealed(layout)
        path = paths_of(layout, snapshot)[which]
        path.write_bytes(data)
        renewed = tuple(map(file_digest, paths_of(layout, snapshot)))
        snapshot = replace(snapshot, digest=renewed[0], entries_digest=renewed[1])
        with caplog.at_level(logging.WARNING):
            opened = open_snapshot(layout, generation_of(layout), snapshot, must_exist=True)
        assert opened is None
        assert "searching all rows exactly" in caplog.text


def test_recall_is_measured_not_claimed() -> None:
    rows = draw_rows(2000)
    assert measure_recall(build_faiss(rows, parse_recipe("flat")), rows) == 1.0
    poor = measure_recall(build_faiss(rows, parse_recipe("IVF100,Flat")), rows)
    assert 0.2 < poor < 0.95
    assert measure_recall(build_faiss(rows[:3], parse_recipe("flat")), rows[:3]) == 1.0  # fewer than k


def test_copies_are_right_answers_for_each_other() -> None:
    rows = np.repeat(draw_rows(4), 30, axis=0)
    assert measure_recall(build_faiss(rows, parse_recipe("flat")), rows) == 1.0
