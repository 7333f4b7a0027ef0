"""Writes: rows before the catalogue, all of a batch or none of it, and writers that take turns."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from index.bundle import Bundle
from index.catalog import Catalog
from index.errors import VectorError
from index.layout import Layout
from index.searcher import Searcher
from index.types import Vectors
from index.vectors import VectorMap, VectorWriter, row_crc
from index.writer import IndexWriter, NewItem
from tests.vector_gallery import add_rows, draw_rows, make_index, new_item


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """An index without items."""
    return make_index(tmp_path / "index", tiny_bundle)


def stored(layout: Layout) -> tuple[Vectors, list[int]]:
    """The rows that count, and their checksums, by ascending id."""
    with Catalog(layout.catalog) as catalog:
        generation = catalog.active_generation()
        rows = VectorMap(layout.vectors(generation.name), 16).read(catalog.vector_ids(generation))
    db = sqlite3.connect(layout.catalog)
    crcs = [crc for (crc,) in db.execute("SELECT crc FROM vectors ORDER BY picture_id")]
    db.close()
    return rows, crcs


def test_what_is_written_can_be_read(layout: Layout) -> None:
    rows = draw_rows(3)
    item = NewItem("shelf/a.jpg", "shelf", {"price": "3"}, None, "ab" * 32, "a.jpg", rows[0])
    with Catalog(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        writer.add([item, new_item("b", rows[1])])
        writer.add([new_item("c", rows[2])])
        found = catalog.items_of_pictures([1, 2, 3])
        record = catalog.picture_of_item(1)
    assert [(found[n].id, found[n].key, found[n].label) for n in (1, 2, 3)] == [
        (1, "shelf/a.jpg", "shelf"),
        (2, "b", None),
        (3, "c", None),
    ]
    assert found[1].metadata == {"price": "3"}
    assert record is not None
    assert (record.content_hash, record.path) == ("ab" * 32, "a.jpg")
    read, crcs = stored(layout)
    np.testing.assert_array_equal(read, rows)
    assert crcs == [row_crc(row) for row in rows]


def test_rows_are_synced_before_the_catalogue_commits(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[int], int]] = []
    write = VectorWriter.write

    def look(writer: VectorWriter, ids: list[int], rows: Vectors) -> None:
        write(writer, ids, rows)
        with Catalog(layout.catalog) as other:
            seen.append((ids, other.count_items()))

    monkeypatch.setattr(VectorWriter, "write", look)
    add_rows(layout, draw_rows(2))
    assert seen == [([1, 2], 0)]  # on disk, and nobody was told yet
    with Catalog(layout.catalog) as catalog:
        assert catalog.count_items() == 2


def test_nothing_to_add_is_no_change(layout: Layout) -> None:
    with Catalog(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        before = catalog.change_number()
        writer.add([])
        assert catalog.change_number() == before


def test_a_batch_is_added_whole_or_not_at_all(layout: Layout) -> None:
    rows = draw_rows(4)
    add_rows(layout, rows[:1], prefix="a")
    with Catalog(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        before = catalog.change_number()
        with pytest.raises(sqlite3.IntegrityError):
            writer.add([new_item("b", rows[1]), new_item("a-0", rows[2])])  # the second key is taken
        assert (catalog.change_number(), catalog.count_items()) == (before, 1)
        writer.add([new_item("c", rows[3])])
    np.testing.assert_array_equal(stored(layout)[0], rows[[0, 3]])


def test_rows_that_can_not_be_written_are_not_counted(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(writer: VectorWriter, ids: list[int], rows: Vectors) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(VectorWriter, "write", fail)
        with pytest.raises(OSError, match="No space"):
            add_rows(layout, draw_rows(2))
    with Catalog(layout.catalog) as catalog:
        assert catalog.count_items() == 0
    add_rows(layout, draw_rows(2))
    np.testing.assert_array_equal(stored(layout)[0], draw_rows(2))


def test_writers_take_turns(layout: Layout) -> None:
    """Four at once: no row overwrites another's, and none is lost."""

    def write(seed: int) -> None:
        with Catalog(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
            for number, row in enumerate(draw_rows(15, seed)):
                writer.add([new_item(f"{seed}-{number}", row)])

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Catalog(layout.catalog) as catalog:
        items = catalog.items_of_pictures(range(1, 61))
    assert len(items) == 60
    rows, crcs = stored(layout)
    assert crcs == [row_crc(row) for row in rows]
    for picture, row in enumerate(rows, start=1):
        seed, number = map(int, items[picture].key.split("-"))
        np.testing.assert_array_equal(row, draw_rows(15, seed)[number])


@pytest.mark.parametrize("spoiled", [np.nan, np.inf, 0.0, 2.0])
def test_a_vector_that_has_no_cosine_is_refused_at_every_door(layout: Layout, spoiled: float) -> None:
    rows = draw_rows(3)
    add_rows(layout, rows)
    with Catalog(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        with pytest.raises(VectorError):
            writer.add([new_item("good", rows[0]), new_item("bad", rows[1] * np.float32(spoiled))])
        assert catalog.count_items() == 3
    with Searcher(layout.folder) as searcher, pytest.raises(VectorError):
        searcher.search(rows[0] * np.float32(spoiled), 3, model=searcher.generation.model_id)
