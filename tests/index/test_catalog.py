"""The catalogue: formats that are refused, transactions, the log of changes, and ids that are never used again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from index import catalog as catalog_module
from index.catalog import APPLICATION_ID, Catalog, Generation, Snapshot
from index.errors import IndexBusyError, IndexDataError
from index.types import Item


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A catalogue with one generation."""
    path = tmp_path / "catalog.sqlite"
    with Catalog(path, create=True) as catalog, catalog.writing():
        catalog.insert_generation("0001-aa", "aa", 16)
    return path


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    """A connection to it."""
    with Catalog(path) as catalog:
        yield catalog


def add(catalog: Catalog, *keys: str, source: int | None = None) -> list[int]:
    """Items with a picture and a vector each; the picture ids."""
    with catalog.writing():
        pictures = [
            catalog.insert_picture(catalog.insert_item(key, f"label of {key}", {"n": key}, source), f"hash {key}", key)
            for key in keys
        ]
        catalog.insert_vectors(catalog.active_generation(), pictures, [0] * len(pictures))
    return pictures


def remove(path: Path, picture: int) -> None:
    """As a writer would."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA foreign_keys = ON")
    with db:
        db.execute("DELETE FROM items WHERE id = (SELECT item_id FROM pictures WHERE id = ?)", (picture,))
        db.execute("INSERT INTO changes (kind, picture_id) VALUES ('remove', ?)", (picture,))
    db.close()


def refuse(path: Path) -> str:
    """The one line with which a catalogue is refused."""
    with pytest.raises(IndexDataError) as caught:
        Catalog(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


class TestFormats:
    def test_missing(self, tmp_path: Path) -> None:
        assert refuse(tmp_path / "catalog.sqlite") == (
            f"{tmp_path}: not an index (expected a folder with catalog.sqlite, found no such file); "
            "make one with `crossmatch index build`"
        )
        assert "found no such folder" in refuse(tmp_path / "no" / "catalog.sqlite")
        assert not (tmp_path / "catalog.sqlite").exists()

    def test_not_sqlite(self, tmp_path: Path) -> None:
        path = tmp_path / "catalog.sqlite"
        path.write_bytes(b"no database at all, and longer than a header" * 100)
        assert refuse(path) == f"{path}: the catalogue can not be read (found file is not a database)"

    def test_another_database(self, tmp_path: Path) -> None:
        path = tmp_path / "catalog.sqlite"
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (x)")
        db.close()
        assert "expected format 1, found another program's database" in refuse(path)

    def test_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "catalog.sqlite").touch()
        assert "another program's database" in refuse(tmp_path / "catalog.sqlite")

    def test_newer_format(self, path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 999")
        db.close()
        assert "expected format 1, found format 999" in refuse(path)

    def test_is_marked_as_ours(self, path: Path) -> None:
        assert path.read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"CRMT"


def test_commits_are_durable(catalog: Catalog, path: Path) -> None:
    assert catalog._value("PRAGMA synchronous") == 2  # FULL
    assert catalog._value("PRAGMA journal_mode") == "wal"
    assert catalog._value("PRAGMA foreign_keys") == 1


def test_a_reading_sees_one_state(catalog: Catalog, path: Path) -> None:
    with Catalog(path) as reader:
        with reader.reading():
            before = reader.change_number()
            add(catalog, "a")
            assert (reader.change_number(), reader.count_items()) == (before, 0)
        assert (reader.change_number(), reader.count_items()) == (before + 1, 1)


def test_a_writing_that_fails_writes_nothing(catalog: Catalog) -> None:
    add(catalog, "a")
    before = catalog.change_number()

    class StopError(Exception):
        pass

    def stop() -> None:
        with catalog.writing():
            catalog.insert_picture(catalog.insert_item("b", None, {}, None), "x", None)
            raise StopError

    with pytest.raises(StopError):
        stop()
    assert (catalog.change_number(), catalog.count_items()) == (before, 1)
    assert add(catalog, "b") == [2]


def test_a_second_writer_waits_its_turn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "BUSY_SECONDS", 0.05)
    with Catalog(path) as first, Catalog(path) as second:
        with first.writing():
            with (
                pytest.raises(IndexBusyError, match="another process is writing to the index") as caught,
                second.writing(),
            ):
                pytest.fail("two writers at once")
            assert caught.value.where == str(path.parent)
        add(second, "a")


def test_log_of_changes(catalog: Catalog, path: Path) -> None:
    start = catalog.change_number()
    add(catalog, "a", "b", "c")
    middle = catalog.change_number()
    add(catalog, "d", "e")
    remove(path, 2)  # before the middle
    remove(path, 4)  # came and went after it
    assert middle == start + 3
    assert catalog.change_number() == middle + 4
    assert [ids.tolist() for ids in catalog.changes_after(start)] == [[1, 3, 5], []]
    assert [ids.tolist() for ids in catalog.changes_after(middle)] == [[5], [2]]
    assert [ids.tolist() for ids in catalog.changes_after(middle + 4)] == [[], []]
    assert catalog.vector_ids(catalog.active_generation()).tolist() == [1, 3, 5]


def test_ids_are_never_used_again(catalog: Catalog, path: Path) -> None:
    assert add(catalog, "a", "b") == [1, 2]
    remove(path, 2)
    assert add(catalog, "b") == [3]
    assert catalog.items_of_pictures([3])[3].id == 3


def test_a_seal_and_a_swap_ask_for_a_reload(catalog: Catalog) -> None:
    number = catalog.change_number()
    add(catalog, "a")
    assert not catalog.must_reload(number)
    with catalog.writing():
        catalog.put_snapshot(catalog.active_generation(), Snapshot(number, "f", "d", "Flat", 1, 1.0))
    assert catalog.must_reload(number)
    number = catalog.change_number()
    assert not catalog.must_reload(number)
    with catalog.writing():
        catalog.insert_generation("0002-bb", "bb", 8)
    assert catalog.must_reload(number)


def test_one_generation_is_active(catalog: Catalog) -> None:
    first = catalog.active_generation()
    assert first == Generation(1, "0001-aa", "aa", 16)
    with catalog.writing():
        catalog.put_snapshot(first, Snapshot(1, "f", "d", "Flat", 1, 1.0))
        catalog.insert_generation("0002-bb", "bb", 8)
    second = catalog.active_generation()
    assert second == Generation(2, "0002-bb", "bb", 8)
    assert catalog.snapshot(second) is None
    assert catalog.snapshot(first) == Snapshot(1, "f", "d", "Flat", 1, 1.0)


def test_a_newer_snapshot_replaces_the_older(catalog: Catalog) -> None:
    generation = catalog.active_generation()
    for number in (3, 7):
        with catalog.writing():
            catalog.put_snapshot(generation, Snapshot(number, f"snapshot-{number}.faiss", "d", "Flat", number, 0.5))
    assert catalog.snapshot(generation) == Snapshot(7, "snapshot-7.faiss", "d", "Flat", 7, 0.5)


def test_no_active_generation_is_said(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite", create=True)
    with catalog, pytest.raises(IndexDataError, match="no active generation"):
        catalog.active_generation()


def test_items_of_pictures(catalog: Catalog, path: Path) -> None:
    add(catalog, "a", "ü/日本.png", "c")
    remove(path, 1)
    assert catalog.items_of_pictures([3, 1, 2, 99]) == {
        2: Item(2, "ü/日本.png", "label of ü/日本.png", {"n": "ü/日本.png"}),
        3: Item(3, "c", "label of c", {"n": "c"}),
    }
    assert catalog.items_of_pictures([]) == {}


def test_where_a_picture_is(catalog: Catalog) -> None:
    with catalog.writing():
        source = catalog.put_source("/data/list.csv", "/data", 2)
    add(catalog, "a", source=source)
    add(catalog, "b")
    record = catalog.picture_of_item(1)
    assert record is not None
    assert (record.id, record.content_hash, record.path, record.root) == (1, "hash a", "a", "/data")
    alone = catalog.picture_of_item(2)
    assert alone is not None
    assert alone.root is None
    assert catalog.picture_of_item(3) is None
    assert catalog.source_hashes(source) == {"a": "hash a"}


def test_a_source_begun_again_is_the_same_source(catalog: Catalog) -> None:
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


@pytest.mark.parametrize(("total", "wanted", "expected"), [(10, 5, [1, 3, 5, 7, 9]), (3, 8, [1, 2, 3]), (7, 2, [1, 4])])
def test_samples_are_spread_and_always_the_same(catalog: Catalog, total: int, wanted: int, expected: list[int]) -> None:
    add(catalog, *(f"key-{number}" for number in range(total)))
    assert [item.id for item in catalog.sample_items(wanted)] == expected
    assert catalog.sample_items(wanted) == catalog.sample_items(wanted)


def test_samples_of_nothing(catalog: Catalog) -> None:
    assert catalog.sample_items(5) == []
