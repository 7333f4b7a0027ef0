"""What alters a catalogue: cascades, versions, CRCs in step with their rows, and a log that can be trimmed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from index.catalog import Snapshot
from index.catalog_writer import CatalogWriter
from index.database import COVERED, crc_of
from index.errors import IndexDataError
from index.types import Item


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[CatalogWriter]:
    """A catalogue with one active generation and three items, a to c, with a picture each."""
    with CatalogWriter(tmp_path / "catalog.sqlite", create=True) as catalog:
        with catalog.writing():
            catalog.activate_generation(catalog.insert_generation("0001-aa", "aa", 16, "flat"))
        add(catalog, "a", "b", "c")
        yield catalog


def add(catalog: CatalogWriter, *keys: str) -> None:
    """Items with a picture and a row each."""
    with catalog.writing():
        pictures = [
            catalog.insert_picture(catalog.insert_item(key, None, {}, None), f"hash {key}", None) for key in keys
        ]
        catalog.insert_vectors(catalog.active_generation(), pictures, [0] * len(pictures))
        catalog.log_added(pictures)


def read(catalog: CatalogWriter, sql: str) -> list[tuple[Any, ...]]:
    """What lies on disk, past all our code."""
    with closing(sqlite3.connect(catalog.path)) as db:
        return db.execute(sql).fetchall()


def seal(catalog: CatalogWriter, name: str = "f") -> Snapshot:
    """Note a snapshot of all that there is."""
    snapshot = Snapshot(catalog.change_number(), name, "d", "e", "dd", "Flat", 1, 2, 0.5)
    with catalog.writing():
        catalog.put_snapshot(catalog.active_generation(), snapshot)
    return snapshot


def changes(catalog: CatalogWriter) -> list[tuple[object, ...]]:
    """The log without its numbers."""
    return read(catalog, "SELECT kind, item_id, picture_id FROM changes ORDER BY number")


def assert_crcs_are_in_step(catalog: CatalogWriter) -> None:
    """Every row's CRC, worked out again from its columns."""
    for table, columns in COVERED.items():
        for *values, crc in read(catalog, f"SELECT {', '.join(columns)}, crc FROM {table}"):
            assert crc == crc_of(*values), (table, values)


def test_each_step_keeps_the_crcs_in_step(catalog: CatalogWriter) -> None:
    generation = catalog.active_generation()
    with catalog.writing():
        source = catalog.put_source("/ü", "/ü", 3)
        item = catalog.insert_item("d", "Etikett ü", {"a": [1, None, "日本"]}, source)
        picture = catalog.insert_picture(item, "hash d", "d.png")
        catalog.insert_vectors(generation, [picture], [0])
        catalog.log_added([picture])
    assert_crcs_are_in_step(catalog)
    with catalog.writing():
        catalog.edit_item(1, "a2", "label", {"x": 0.1})
        catalog.move_picture(picture, "elsewhere.png")
        catalog.put_source("/ü", "/other", 4)
        catalog.complete_source(source)
        catalog.set_recipe(generation, "hnsw")
        catalog.delete_item(2)
    assert_crcs_are_in_step(catalog)
    seal(catalog)
    with catalog.writing():
        catalog.activate_generation(catalog.insert_generation("0002-bb", "bb", 8, "flat"))
    assert_crcs_are_in_step(catalog)


def test_an_edit_counts_the_version_up(catalog: CatalogWriter) -> None:
    for version in (2, 3):
        with catalog.writing():
            catalog.edit_item(1, "ä", "label", {"price": version})
        assert catalog.item(1) == Item(1, "ä", "label", {"price": version}, version)
    assert catalog.item(2).version == 1
    assert changes(catalog)[-2:] == [("edit", 1, None)] * 2


def test_a_key_has_one_item(catalog: CatalogWriter) -> None:
    with pytest.raises(sqlite3.IntegrityError), catalog.writing():
        catalog.edit_item(1, "b", None, {})
    assert catalog.item(1).key == "a"


def test_a_removal_takes_all_with_it_and_is_logged(catalog: CatalogWriter) -> None:
    with catalog.writing():
        draft = catalog.insert_generation("0002-bb", "bb", 8, "flat")
        catalog.insert_vectors(draft, [1, 2, 3], [0, 0, 0])
    with catalog.writing():
        catalog.delete_item(2)
    assert read(catalog, "SELECT id FROM pictures") == [(1,), (3,)]
    for generation in (catalog.active_generation(), draft):
        assert catalog.vector_ids(generation).tolist() == [1, 3]
    assert changes(catalog)[-1] == ("remove", 2, 2)


def test_a_row_of_no_picture_can_not_count(catalog: CatalogWriter) -> None:
    with pytest.raises(sqlite3.IntegrityError), catalog.writing():
        catalog.insert_vectors(catalog.active_generation(), [99], [0])


def test_a_newer_snapshot_replaces_the_older(catalog: CatalogWriter) -> None:
    first = seal(catalog, "first")
    assert catalog.snapshot(catalog.active_generation()) == first
    second = seal(catalog, "second")
    assert catalog.snapshot(catalog.active_generation()) == second != first
    assert changes(catalog)[-2:] == [("seal", None, None)] * 2
    with catalog.writing():
        catalog.delete_snapshot(catalog.active_generation())
    assert catalog.snapshot(catalog.active_generation()) is None


def test_the_active_generation_is_never_deleted(catalog: CatalogWriter) -> None:
    first = catalog.active_generation()
    with catalog.writing():
        catalog.delete_generation(first)
    assert catalog.active_generation() == first
    with catalog.writing():
        catalog.activate_generation(catalog.insert_generation("0002-bb", "bb", 8, "flat"))
        catalog.delete_generation(first)
    assert [one.name for one in catalog.generations()] == ["0002-bb"]
    assert catalog.vector_ids(first).tolist() == []
    assert catalog.count_generations_ever() == 2


class TestTrimLog:
    def trim(self, catalog: CatalogWriter) -> None:
        with catalog.writing():
            catalog.trim_log()

    def test_keeps_all_without_a_snapshot(self, catalog: CatalogWriter) -> None:
        before = changes(catalog)
        self.trim(catalog)
        assert changes(catalog) == before

    def test_forgets_what_the_snapshot_holds(self, catalog: CatalogWriter) -> None:
        seal(catalog)
        add(catalog, "d")
        number = catalog.change_number()
        self.trim(catalog)
        assert changes(catalog) == [("swap", None, None), ("seal", None, None), ("add", 4, 4)]
        assert catalog.change_number() == number

    def test_keeps_what_any_generation_lacks(self, catalog: CatalogWriter) -> None:
        seal(catalog)
        with catalog.writing():
            draft = catalog.insert_generation("0002-bb", "bb", 8, "flat")
        before = changes(catalog)
        self.trim(catalog)
        assert changes(catalog) == before
        with catalog.writing():
            catalog.delete_generation(draft)
        self.trim(catalog)
        assert changes(catalog) == [("swap", None, None), ("seal", None, None)]

    def test_a_reader_that_knows_less_loads_anew(self, catalog: CatalogWriter) -> None:
        number = catalog.change_number() - 2
        seal(catalog)
        assert not catalog.changes_after(number).reload
        self.trim(catalog)
        assert catalog.changes_after(number).reload

    def test_numbers_go_on(self, catalog: CatalogWriter) -> None:
        seal(catalog)
        self.trim(catalog)
        number = catalog.change_number()
        add(catalog, "d")
        assert catalog.change_number() == number + 1


def test_a_generation_that_was_cleared_away_is_not_activated(catalog: CatalogWriter) -> None:
    """Nor is the active one given up for it."""
    with catalog.writing():
        draft = catalog.insert_generation("0002-bb", "bb", 16, "flat")
    with catalog.writing():
        catalog.delete_generation(draft)
    with pytest.raises(IndexDataError, match="cleared away"), catalog.writing():
        catalog.activate_generation(draft)
    assert catalog.active_generation().name == "0001-aa"
