"""Copying and clearing exclude each other; several may copy at once."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.generations import check_rows
from index.holding import clearing, keeping_files
from index.layout import Layout
from index.repair import repair_index
from index.self_evaluation import evaluate_index
from index.types import Ids, Vectors
from index.vectors import VectorMap
from tests.vector_gallery import apply, draw_rows, make_index, new_put, remove_items, seal


def may_clear(layout: Layout) -> bool:
    with clearing(layout) as alone:
        return alone


def test_nothing_is_cleared_while_anybody_copies(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert may_clear(layout)
    with keeping_files(layout):
        with keeping_files(layout):
            assert not may_clear(layout)
        assert not may_clear(layout)
    assert may_clear(layout)


def test_lock_goes_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), keeping_files(Layout(tmp_path)):
        raise KeyboardInterrupt
    assert may_clear(Layout(tmp_path))


@pytest.mark.parametrize("number", [13, 30])
def test_read_only_folder_can_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "open", refuse)
    with keeping_files(Layout(tmp_path)):
        assert not (tmp_path / "clear.lock").exists()


def test_full_disk_is_not_taken_for_a_read_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match="No space"), keeping_files(Layout(tmp_path)):
        pass


class TestReadersOfRows:
    """While rows are read that were listed before, no compaction may punch out those of items removed meanwhile."""

    @pytest.fixture
    def layout(self, tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Layout:
        """50 items with labels, sealed; 20 of them go, and two compactions run, whenever rows are about to be read."""
        layout = make_index(tmp_path / "index", tiny_bundle)
        rows, model = draw_rows(50), tiny_bundle.manifest.model_id
        apply(layout, [replace(new_put(f"{n}", row, model), label=f"{n % 5}") for n, row in enumerate(rows)])
        seal(layout)
        read, done = VectorMap.read, list[bool]()

        def read_late(rows: VectorMap, ids: Ids) -> Vectors:
            if not done:
                done.append(True)
                remove_items(layout, range(1, 21))
                with CatalogWriter(layout.catalog) as catalog:
                    for _ in range(2):
                        compact_index(layout, catalog)
            return read(rows, ids)

        monkeypatch.setattr(VectorMap, "read", read_late)
        return layout

    def test_the_check_before_a_swap(self, layout: Layout) -> None:
        with CatalogWriter(layout.catalog) as catalog:
            check_rows(layout, catalog, catalog.active_generation())

    def test_index_evaluate(self, layout: Layout) -> None:
        found = evaluate_index(layout.folder)
        assert found.pictures == 50
        assert found.figures is not None
        assert found.figures.queries == 50

    def test_repair(self, layout: Layout) -> None:
        assert not [one for one in repair_index(layout) if one.kind == "fault" and "row" in one.what]


def test_who_may_only_read_holds_by_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, opener = Layout(tmp_path), Path.open
    layout.clear_lock.touch()

    def refuse_to_write(path: Path, mode: str = "r", *options: Any, **named: Any) -> Any:
        if mode == "a" and path == layout.clear_lock and not writable:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opener(path, mode, *options, **named)

    monkeypatch.setattr(Path, "open", refuse_to_write)
    writable = False
    with keeping_files(layout):
        writable = True
        with clearing(layout) as alone:
            assert not alone
