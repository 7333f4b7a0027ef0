"""Writes: rows before the catalogue, all of a batch or none of it, and writers that take turns."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest

from index import database as database_module
from index.bundle import Bundle
from index.catalog import Catalog, Changes
from index.catalog_writer import CatalogWriter
from index.errors import GenerationChangedError, IndexBusyError, VectorError
from index.layout import Layout
from index.searcher import Searcher
from index.types import Item, Vectors
from index.vectors import VectorMap, VectorWriter, row_crc
from index.writer import Edit, EncodedPicture, IndexWriter, Outcome, Put, Remove, Write
from tests.vector_gallery import (
    add_rows,
    apply,
    draw_rows,
    generation_of,
    new_put,
    remove_items,
    replace_row,
)


@pytest.fixture
def model(tiny_bundle: Bundle) -> str:
    """The index's model."""
    return tiny_bundle.manifest.model_id


def stored(layout: Layout) -> tuple[Vectors, list[int]]:
    """The rows that count, and their checksums, by ascending id."""
    with Catalog(layout.catalog) as catalog:
        generation = catalog.active_generation()
        ids, crcs = catalog.vector_crcs(generation)
        return VectorMap(layout.vectors(generation.name), 16).read(ids), crcs.tolist()


def number_of(layout: Layout) -> int:
    """The newest change."""
    with Catalog(layout.catalog) as catalog:
        return catalog.change_number()


def changes_after(layout: Layout, number: int) -> Changes:
    with Catalog(layout.catalog) as catalog:
        return catalog.changes_after(number)


def items(layout: Layout) -> dict[int, Item]:
    """Every item, by id."""
    with Catalog(layout.catalog) as catalog:
        return {item.id: item for item in catalog.list_items(0, 1000)}


def test_what_is_written_can_be_read(layout: Layout, model: str) -> None:
    rows = draw_rows(3)
    put = Put("shelf/a.jpg", "shelf", {"price": "3"}, None, EncodedPicture("ab" * 32, "a.jpg", rows[0], model))
    assert apply(layout, [put, new_put("b", rows[1], model)]) == [Outcome.ADDED] * 2
    assert apply(layout, [new_put("c", rows[2], model)]) == [Outcome.ADDED]
    assert items(layout) == {
        1: Item(1, "shelf/a.jpg", "shelf", {"price": "3"}),
        2: Item(2, "b", None),
        3: Item(3, "c", None),
    }
    with Catalog(layout.catalog) as catalog:
        record = catalog.picture_of_item(1)
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
    assert len(items(layout)) == 2


def test_nothing_to_write_is_no_change(layout: Layout, model: str) -> None:
    add_rows(layout, draw_rows(1))
    before = number_of(layout)
    assert apply(layout, []) == []
    assert apply(layout, [new_put("item-0", draw_rows(1)[0], model)]) == [Outcome.KEPT]
    assert apply(layout, [Remove(99), Edit(99, "x", None, {})]) == [Outcome.GONE] * 2
    assert number_of(layout) == before


class TestOutcomes:
    """What becomes of an item whose key is there already."""

    def test_same_content_is_kept_as_it_is(self, layout: Layout, model: str) -> None:
        rows = draw_rows(2)
        add_rows(layout, rows)
        put = replace(new_put("item-0", rows[0], model, replace=True), label="other")
        assert apply(layout, [put]) == [Outcome.KEPT]
        assert items(layout)[1] == Item(1, "item-0", None)

    def test_other_content_only_where_asked(self, layout: Layout, model: str) -> None:
        rows = draw_rows(3)
        add_rows(layout, rows[:2])
        assert apply(layout, [new_put("item-0", rows[2], model)]) == [Outcome.TAKEN]
        np.testing.assert_array_equal(stored(layout)[0], rows[:2])
        replace_row(layout, "item-0", rows[2])
        np.testing.assert_array_equal(stored(layout)[0], rows[[1, 2]])
        assert items(layout)[1] == Item(1, "item-0", None, {}, 2)

    def test_another_sources_item_is_taken(self, layout: Layout, model: str) -> None:
        add_rows(layout, draw_rows(1))
        with CatalogWriter(layout.catalog) as catalog, catalog.writing():
            source = catalog.put_source("/a", "/a", 1)
        put = replace(new_put("item-0", draw_rows(1, seed=2)[0], model, replace=True), source_id=source)
        assert apply(layout, [put]) == [Outcome.TAKEN]

    def test_edits(self, layout: Layout) -> None:
        add_rows(layout, draw_rows(2))
        writes: list[Write] = [Edit(1, "new", "label", {"a": 1}, "there.png"), Edit(2, "new", None, {})]
        assert apply(layout, writes) == [Outcome.EDITED, Outcome.TAKEN]
        assert items(layout) == {1: Item(1, "new", "label", {"a": 1}, 2), 2: Item(2, "item-1", None)}
        with Catalog(layout.catalog) as catalog:
            assert catalog.picture_of_item(1).path == "there.png"

    def test_removals(self, layout: Layout) -> None:
        add_rows(layout, draw_rows(3))
        assert apply(layout, [Remove(2), Remove(2)]) == [Outcome.REMOVED, Outcome.GONE]
        np.testing.assert_array_equal(stored(layout)[0], draw_rows(3)[[0, 2]])

    def test_one_batch_may_take_back_what_it_put(self, layout: Layout, model: str) -> None:
        """A picture that came and went within a batch leaves no row, and no removal that a reader could trip over."""
        rows = draw_rows(4)
        add_rows(layout, rows[:1])
        before = number_of(layout)
        writes: list[Write] = [
            new_put("a", rows[1], model),
            new_put("a", rows[2], model, replace=True),
            new_put("b", rows[3], model),
            Remove(3),
        ]
        assert apply(layout, writes) == [Outcome.ADDED, Outcome.REPLACED, Outcome.ADDED, Outcome.REMOVED]
        changes = changes_after(layout, before)
        assert (changes.added.tolist(), changes.removed.tolist()) == ([3], [])
        np.testing.assert_array_equal(stored(layout)[0], rows[[0, 2]])


class TestRefusals:
    def test_another_models_vector(self, layout: Layout, model: str) -> None:
        before = number_of(layout)
        rows = draw_rows(2)
        with pytest.raises(GenerationChangedError) as caught:
            apply(layout, [new_put("a", rows[0], model), new_put("b", rows[1], "f" * 64)])
        assert str(caught.value) == (
            "another model's generation has become the active one "
            f"(expected vectors of model {model[:12]}..., found of model ffffffffffff...); "
            "encode again with the index's model"
        )
        assert (number_of(layout), items(layout)) == (before, {})

    def test_a_swap_between_encoding_and_writing(self, layout: Layout, model: str) -> None:
        put = new_put("a", draw_rows(1)[0], model)
        with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
            with catalog.writing():
                catalog.activate_generation(catalog.insert_generation("0002-ff", "f" * 64, 16, "flat"))
            with pytest.raises(GenerationChangedError):
                writer.apply([put])
        assert items(layout) == {}

    @pytest.mark.parametrize("size", [1, 15, 17, 32])
    def test_a_row_of_another_size(self, layout: Layout, model: str, size: int) -> None:
        add_rows(layout, draw_rows(2))
        with pytest.raises(
            VectorError, match=rf"the rows do not fit the file \(expected \(1, 16\), found \(1, {size}\)"
        ):
            apply(layout, [new_put("a", draw_rows(1, size=size)[0], model)])
        np.testing.assert_array_equal(stored(layout)[0], draw_rows(2))
        assert len(items(layout)) == 2

    def test_a_busy_index(self, layout: Layout, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        put = new_put("a", draw_rows(1)[0], model)
        monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.05)
        with CatalogWriter(layout.catalog) as other:
            with other.writing(), pytest.raises(IndexBusyError, match="another process is writing"):
                apply(layout, [put])
            assert apply(layout, [put]) == [Outcome.ADDED]


def test_a_batch_is_written_whole_or_not_at_all(layout: Layout, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = draw_rows(4)
    add_rows(layout, rows[:1], prefix="a")
    before = number_of(layout)
    bad = replace(new_put("c", rows[2], model), source_id=99)  # no such source
    with pytest.raises(sqlite3.IntegrityError):
        apply(layout, [new_put("b", rows[1], model), Remove(1), bad])
    assert (number_of(layout), list(items(layout))) == (before, [1])
    apply(layout, [new_put("d", rows[3], model)])
    np.testing.assert_array_equal(stored(layout)[0], rows[[0, 3]])


def test_rows_that_can_not_be_written_are_not_counted(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(writer: VectorWriter, ids: list[int], rows: Vectors) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(VectorWriter, "write", fail)
        with pytest.raises(OSError, match="Input/output"):
            add_rows(layout, draw_rows(2))
    assert items(layout) == {}
    add_rows(layout, draw_rows(2))
    np.testing.assert_array_equal(stored(layout)[0], draw_rows(2))


def test_ids_are_never_used_again(layout: Layout) -> None:
    """Each write here is by a new connection, as after a restart."""
    add_rows(layout, draw_rows(3))
    remove_items(layout, [2, 3])
    add_rows(layout, draw_rows(1, seed=1), prefix="new")
    assert list(items(layout)) == [1, 4]
    replace_row(layout, "new-0", draw_rows(1, seed=2)[0])
    with Catalog(layout.catalog) as catalog:
        assert catalog.picture_of_item(4).id == 5
    remove_items(layout, [1, 4])
    add_rows(layout, draw_rows(1, seed=3), prefix="new")
    assert list(items(layout)) == [5]


def test_rows_of_a_draft_count_for_it_alone(layout: Layout, tiny_bundle: Bundle) -> None:
    rows = draw_rows(3)
    add_rows(layout, rows)
    before = number_of(layout)
    with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        with catalog.writing():
            draft = catalog.insert_generation("0002-ff", "f" * 64, 8, "flat")
            catalog.delete_item(2)
        layout.generation("0002-ff").mkdir()
        writer.put_rows(draft, [1, 2, 3], draw_rows(3, seed=1, size=8))
        assert catalog.vector_ids(draft).tolist() == [1, 3]  # 2 was removed while it was encoded
        assert catalog.pictures_without_vector(draft) == []
        found = VectorMap(layout.vectors("0002-ff"), 8).read(np.array([1, 3]))
    np.testing.assert_array_equal(found, draw_rows(3, seed=1, size=8)[[0, 2]])
    np.testing.assert_array_equal(stored(layout)[0], rows[[0, 2]])
    assert changes_after(layout, before).added.tolist() == []


def test_writers_take_turns(layout: Layout) -> None:
    """Four at once: no row overwrites another's, and none is lost."""
    model = generation_of(layout).model_id

    def write(seed: int) -> None:
        with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
            for number, row in enumerate(draw_rows(15, seed)):
                writer.apply([new_put(f"{seed}-{number}", row, model)])

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = items(layout)
    assert len(found) == 60
    rows, crcs = stored(layout)
    assert crcs == [row_crc(row) for row in rows]
    for picture, row in enumerate(rows, start=1):
        seed, number = map(int, found[picture].key.split("-"))
        np.testing.assert_array_equal(row, draw_rows(15, seed)[number])


@pytest.mark.parametrize("spoiled", [np.nan, np.inf, 0.0, 2.0])
def test_a_vector_that_has_no_cosine_is_refused_at_every_door(layout: Layout, model: str, spoiled: float) -> None:
    rows = draw_rows(3)
    add_rows(layout, rows)
    with pytest.raises(VectorError):
        apply(layout, [new_put("good", rows[0], model), new_put("bad", rows[1] * np.float32(spoiled), model)])
    assert len(items(layout)) == 3
    with Searcher(layout.folder) as searcher, pytest.raises(VectorError):
        searcher.search(rows[0] * np.float32(spoiled), 3, model=model)
