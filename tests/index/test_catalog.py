"""What a catalogue says: the log of changes and what is derived from it, items, pictures, sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.catalog import Catalog, Changes, Generation, Owner, Snapshot, SourceItem
from index.catalog_writer import CatalogWriter
from index.errors import IndexDataError, ItemNotFoundError
from index.types import Item


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[CatalogWriter]:
    """A catalogue with one active generation and no items."""
    with CatalogWriter(tmp_path / "catalog.sqlite", create=True) as catalog:
        with catalog.writing():
            catalog.activate_generation(catalog.insert_generation("0001-aa", "aa", 16, "flat"))
        yield catalog


def add(catalog: CatalogWriter, *keys: str, source: int | None = None) -> list[int]:
    """Items with a picture and a vector each; the picture ids."""
    with catalog.writing():
        pictures = [
            catalog.insert_picture(catalog.insert_item(key, f"label of {key}", {"n": key}, source), f"hash {key}", key)
            for key in keys
        ]
        catalog.insert_vectors(catalog.active_generation(), pictures, [1000 + picture for picture in pictures])
        catalog.log_added(pictures)
    return pictures


def remove(catalog: CatalogWriter, *items: int) -> None:
    """One durable batch."""
    with catalog.writing():
        for item in items:
            catalog.delete_item(item)


def snapshot(number: int, file: str = "f") -> Snapshot:
    """One that was sealed after change `number`."""
    return Snapshot(number, file, "d", "e", "dd", "Flat", 1, 2, 0.5)


def tell(changes: Changes) -> tuple[list[int], list[int], bool]:
    """Added, removed, whether to load anew."""
    return changes.added.tolist(), changes.removed.tolist(), changes.reload


def test_log_of_changes(catalog: CatalogWriter) -> None:
    start = catalog.change_number()
    add(catalog, "a", "b", "c")
    middle = catalog.change_number()
    add(catalog, "d", "e")
    remove(catalog, 2)  # before the middle
    remove(catalog, 4)  # came and went after it
    assert middle == start + 3
    assert catalog.change_number() == middle + 4
    assert tell(catalog.changes_after(start)) == ([1, 3, 5], [], False)
    assert tell(catalog.changes_after(middle)) == ([5], [2], False)
    assert tell(catalog.changes_after(middle + 4)) == ([], [], False)
    assert catalog.removed_after(start).tolist() == [2, 4]
    assert catalog.vector_ids(catalog.active_generation()).tolist() == [1, 3, 5]
    assert [ids.tolist() for ids in catalog.vector_crcs(catalog.active_generation())] == [
        [1, 3, 5],
        [1001, 1003, 1005],
    ]


def test_an_edit_is_a_change_that_moves_no_picture(catalog: CatalogWriter) -> None:
    add(catalog, "a")
    number = catalog.change_number()
    with catalog.writing():
        catalog.edit_item(1, "a", "new", {})
    assert catalog.change_number() == number + 1
    assert tell(catalog.changes_after(number)) == ([], [], False)


def test_a_new_picture_of_an_item_is_a_removal_and_an_addition(catalog: CatalogWriter) -> None:
    add(catalog, "a", "b")
    number = catalog.change_number()
    with catalog.writing():
        catalog.delete_pictures(1)
        picture = catalog.insert_picture(1, "new", None)
        catalog.insert_vectors(catalog.active_generation(), [picture], [0])
        catalog.log_added([picture])
    assert tell(catalog.changes_after(number)) == ([3], [1], False)
    assert catalog.find_owner("a") == Owner(1, None, "new")


def test_ids_are_never_used_again(catalog: CatalogWriter) -> None:
    assert add(catalog, "a", "b") == [1, 2]
    remove(catalog, 2)
    assert add(catalog, "b") == [3]
    assert catalog.items_of_pictures([3])[3].id == 3
    remove(catalog, 1, 3)
    with CatalogWriter(catalog.path) as again:
        assert add(again, "c") == [4]
        assert again.items_of_pictures([4])[4].id == 4


def test_a_swap_asks_for_a_reload_and_a_seal_does_not(catalog: CatalogWriter) -> None:
    number = catalog.change_number()
    add(catalog, "a")
    assert not catalog.changes_after(number).reload
    with catalog.writing():
        catalog.put_snapshot(catalog.active_generation(), snapshot(number))
    found = catalog.changes_after(number)
    assert (found.sealed, found.reload, found.added.tolist()) == (True, False, [1])
    number = catalog.change_number()
    assert not catalog.changes_after(number).reload
    with catalog.writing():
        draft = catalog.insert_generation("0002-bb", "bb", 8, "flat")
    assert not catalog.changes_after(number).reload
    with catalog.writing():
        catalog.activate_generation(draft)
    assert catalog.changes_after(number).reload


def test_one_generation_is_active(catalog: CatalogWriter) -> None:
    first = Generation(1, "0001-aa", "aa", 16, "flat")
    second = Generation(2, "0002-bb", "bb", 8, "hnsw")
    assert catalog.active_generation() == first
    with catalog.writing():
        catalog.put_snapshot(first, snapshot(1))
        assert catalog.insert_generation("0002-bb", "bb", 8, "hnsw") == second
    assert (catalog.active_generation(), catalog.drafts(), catalog.generations()) == (first, [second], [first])
    with catalog.writing():
        catalog.activate_generation(second)
    assert (catalog.active_generation(), catalog.drafts(), catalog.generations()) == (second, [], [second, first])
    assert catalog.snapshot(second) is None
    assert catalog.snapshot(first) == snapshot(1)
    with catalog.writing():
        catalog.activate_generation(first)
    assert catalog.generations() == [first, second]
    assert catalog.count_generations_ever() == 2


def test_no_active_generation_is_said(tmp_path: Path) -> None:
    catalog = CatalogWriter(tmp_path / "catalog.sqlite", create=True)
    with catalog, pytest.raises(IndexDataError, match="no active generation"):
        catalog.active_generation()


def test_pictures_that_a_generation_lacks(catalog: CatalogWriter) -> None:
    with catalog.writing():
        draft = catalog.insert_generation("0002-bb", "bb", 8, "flat")
    add(catalog, "a", "b", "c")
    remove(catalog, 2)
    assert [record.id for record in catalog.pictures_without_vector(draft)] == [1, 3]
    assert catalog.pictures_without_vector(catalog.active_generation()) == []
    with catalog.writing():
        catalog.insert_vectors(draft, [3], [0])
    assert [record.id for record in catalog.pictures_without_vector(draft)] == [1]


def test_items_of_pictures(catalog: CatalogWriter) -> None:
    add(catalog, "a", "ü/日本.png", "c")
    remove(catalog, 1)
    assert catalog.items_of_pictures([3, 1, 2, 99]) == {
        2: Item(2, "ü/日本.png", "label of ü/日本.png", {"n": "ü/日本.png"}),
        3: Item(3, "c", "label of c", {"n": "c"}),
    }
    assert catalog.items_of_pictures([]) == {}


def test_items_by_id_and_key(catalog: CatalogWriter) -> None:
    add(catalog, "a", "b", "c")
    remove(catalog, 2)
    assert catalog.item(3) == catalog.find_item("c") == Item(3, "c", "label of c", {"n": "c"})
    assert catalog.find_item("b") is None
    with pytest.raises(ItemNotFoundError, match=r"no such item \(expected the id of an item, found 2\)"):
        catalog.item(2)
    assert [item.id for item in catalog.list_items(0, 10)] == [1, 3]
    assert [item.id for item in catalog.list_items(1, 10)] == [3]
    assert [item.id for item in catalog.list_items(0, 1)] == [1]
    assert (catalog.has_item(1), catalog.has_item(2), catalog.has_picture(1), catalog.has_picture(2)) == (
        *(True, False),
        *(True, False),
    )


def test_where_a_picture_is(catalog: CatalogWriter) -> None:
    with catalog.writing():
        source = catalog.put_source("/data/list.csv", "/data", 2)
    add(catalog, "a", source=source)
    add(catalog, "b")
    record = catalog.picture_of_item(1)
    assert (record.id, record.content_hash, record.path, record.root) == (1, "hash a", "a", "/data")
    assert catalog.picture_of_item(2).root is None
    with pytest.raises(ItemNotFoundError, match="no such item"):
        catalog.picture_of_item(3)
    assert catalog.items_of_source(source) == {"a": SourceItem(1, "a", "label of a", {"n": "a"}, "hash a", "a")}
    assert catalog.find_owner("a") == Owner(1, source, "hash a")
    assert catalog.find_owner("z") is None
    assert [picture.id for picture in catalog.all_pictures()] == [1, 2]
    assert catalog.living_contents(["hash a", "hash z"]) == {"hash a"}


def test_a_reader_sees_what_a_writer_committed(catalog: CatalogWriter) -> None:
    with Catalog(catalog.path) as reader:
        add(catalog, "a")
        assert reader.count_items() == 1


def test_a_source_begun_again_is_the_same_source(catalog: CatalogWriter) -> None:
    with catalog.writing():
        first = catalog.put_source("/a", "/a", 10)
        other = catalog.put_source("/b", "/b", 1)
        catalog.complete_source(first)
    assert [state.complete for state in catalog.sources()] == [True, False]
    with catalog.writing():
        assert catalog.put_source("/a", "/a", 12) == first != other
    assert [(state.name, state.listed, state.complete) for state in catalog.sources()] == [
        ("/a", 12, False),
        ("/b", 1, False),
    ]


@pytest.mark.parametrize(
    ("total", "wanted", "expected"), [(10, 5, [1, 3, 5, 7, 10]), (3, 8, [1, 2, 3]), (7, 2, [1, 7])]
)
def test_samples_are_spread_and_always_the_same(
    catalog: CatalogWriter, total: int, wanted: int, expected: list[int]
) -> None:
    add(catalog, *(f"key-{number}" for number in range(total)))
    assert [item.id for item in catalog.sample_items(wanted)] == expected
    assert catalog.sample_items(wanted) == catalog.sample_items(wanted)


def test_samples_skip_what_was_removed(catalog: CatalogWriter) -> None:
    add(catalog, *"abcdefghij")
    remove(catalog, 3, 4, 5, 6)
    assert [item.id for item in catalog.sample_items(5)] == [1, 7, 10]


def test_samples_of_nothing(catalog: CatalogWriter) -> None:
    assert catalog.sample_items(5) == []
