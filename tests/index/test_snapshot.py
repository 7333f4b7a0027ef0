"""Sealed snapshots: what they hold, that they are replaced and never changed, and when they are not trusted."""

from __future__ import annotations

import logging
from pathlib import Path

import faiss
import numpy as np
import pytest

from index import snapshot as snapshot_module
from index.bundle import Bundle
from index.catalog import Catalog, Generation, Snapshot
from index.layout import Layout
from index.manifest import file_digest
from index.snapshot import build_faiss, measure_recall, open_snapshot
from index.types import Ids, Vectors
from tests.vector_gallery import add_rows, draw_rows, make_index, remove_items, seal


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """An index without items."""
    return make_index(tmp_path / "index", tiny_bundle)


def generation_of(layout: Layout) -> Generation:
    with Catalog(layout.catalog) as catalog:
        return catalog.active_generation()


def files_of(layout: Layout) -> list[str]:
    """Everything that begins like a snapshot, drafts included."""
    folder = layout.generation(generation_of(layout).name)
    return sorted(path.name for path in folder.iterdir() if "snapshot" in path.name)


def ids_of(layout: Layout, snapshot: Snapshot) -> list[int]:
    """The ids that a snapshot's file holds."""
    index = open_snapshot(layout, generation_of(layout), snapshot, must_exist=True)
    assert index is not None
    _, ids = index.search(draw_rows(1), index.ntotal)
    return sorted(ids[0].tolist())


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
    path = layout.generation(generation_of(layout).name) / snapshot.file
    assert ids_of(layout, snapshot) == [n for n in range(1, 20) if n != 3]
    assert (snapshot.entries, snapshot.recall, snapshot.recipe) == (18, 1.0, "Flat")
    assert snapshot.digest == file_digest(path)
    assert path.stat().st_mode & 0o777 == 0o644
    with Catalog(layout.catalog) as catalog:
        assert catalog.snapshot(catalog.active_generation()) == snapshot
        assert snapshot.file == f"snapshot-{snapshot.change_number}.faiss"
        assert [ids.tolist() for ids in catalog.changes_after(snapshot.change_number)] == [[], []]


def test_nothing_new_is_not_sealed_again(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    first = sealed(layout)
    with Catalog(layout.catalog) as catalog:
        number = catalog.change_number()
        assert sealed(layout) == first
        assert catalog.change_number() == number


def test_a_newer_one_takes_the_older_ones_place(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    first = sealed(layout)
    mapped = open_snapshot(layout, generation_of(layout), first, must_exist=True)
    add_rows(layout, draw_rows(5, seed=1), prefix="more")
    second = sealed(layout)
    assert files_of(layout) == [second.file]
    assert ids_of(layout, second) == list(range(1, 11))
    assert mapped is not None
    np.testing.assert_array_equal(
        mapped.search(draw_rows(5), 1)[1][:, 0], np.arange(1, 6)
    )  # who has it mapped keeps it


def test_removals_alone_are_reason_enough(layout: Layout) -> None:
    add_rows(layout, draw_rows(5))
    sealed(layout)
    remove_items(layout, [2])
    assert ids_of(layout, sealed(layout)) == [1, 3, 4, 5]


def test_writers_go_on_while_it_is_sealed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    add_rows(layout, draw_rows(5))

    def build_late(rows: Vectors, ids: Ids) -> faiss.Index:
        add_rows(layout, draw_rows(2, seed=1), prefix="late")
        remove_items(layout, [1])
        return build_faiss(rows, ids)

    monkeypatch.setattr(snapshot_module, "build_faiss", build_late)
    snapshot = sealed(layout)
    assert ids_of(layout, snapshot) == [1, 2, 3, 4, 5]
    with Catalog(layout.catalog) as catalog:
        assert [ids.tolist() for ids in catalog.changes_after(snapshot.change_number)] == [[6, 7], [1]]


def test_a_failed_seal_leaves_the_old_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    add_rows(layout, draw_rows(5))
    first = sealed(layout)
    add_rows(layout, draw_rows(1, seed=1), prefix="more")

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot_module, "sync_path", fail)
        with pytest.raises(OSError, match="No space"):
            seal(layout)
    assert files_of(layout) == [first.file]
    assert ids_of(layout, first) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_flipped_byte_is_not_trusted(layout: Layout, caplog: pytest.LogCaptureFixture, place: int) -> None:
    add_rows(layout, draw_rows(5))
    snapshot = sealed(layout)
    path = layout.generation(generation_of(layout).name) / snapshot.file
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert open_snapshot(layout, generation_of(layout), snapshot, must_exist=True) is None
    assert f"{path}: the snapshot is not the one that was sealed" in caplog.text
    assert "searching all rows exactly" in caplog.text


def test_a_file_that_faiss_can_not_read_is_not_trusted(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    path = layout.generation(generation_of(layout).name) / "snapshot-9.faiss"
    path.write_bytes(b"no index")
    snapshot = Snapshot(9, path.name, file_digest(path), "Flat", 1, 1.0)
    with caplog.at_level(logging.WARNING):
        assert open_snapshot(layout, generation_of(layout), snapshot, must_exist=True) is None
    assert "searching all rows exactly" in caplog.text


def test_a_missing_file(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    add_rows(layout, draw_rows(5))
    snapshot = sealed(layout)
    generation = generation_of(layout)
    path = layout.generation(generation.name) / snapshot.file
    path.unlink()
    with pytest.raises(FileNotFoundError):
        open_snapshot(layout, generation, snapshot, must_exist=True)
    with caplog.at_level(logging.WARNING):
        assert open_snapshot(layout, generation, snapshot, must_exist=False) is None
    assert f"{path}: the snapshot is missing; searching all rows exactly" in caplog.text


def test_recall_is_measured_not_claimed() -> None:
    rows, ids = draw_rows(200), np.arange(200, dtype=np.int64) * 3 + 5
    assert measure_recall(build_faiss(rows, ids), rows, ids) == 1.0
    half = measure_recall(build_faiss(rows[::2], ids[::2]), rows, ids)
    assert 0.3 < half < 0.7
    assert measure_recall(build_faiss(rows[:3], ids[:3]), rows[:3], ids[:3]) == 1.0  # fewer than k


def test_copies_are_right_answers_for_each_other() -> None:
    rows = np.repeat(draw_rows(4), 30, axis=0)
    ids = np.arange(120, dtype=np.int64)
    assert measure_recall(build_faiss(rows, ids), rows, ids) == 1.0
