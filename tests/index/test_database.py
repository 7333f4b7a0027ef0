"""One connection to a catalogue: formats that are refused, transactions, and writers that take turns."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from index import database as database_module
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.database import APPLICATION_ID
from index.errors import IndexBusyError, IndexDataError, ItemNotFoundError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty catalogue."""
    path = tmp_path / "catalog.sqlite"
    CatalogWriter(path, create=True).close()
    return path


def insert(catalog: CatalogWriter, key: str) -> None:
    """One durable item."""
    with catalog.writing():
        catalog.insert_item(key, None, {}, None)


def refuse(path: Path) -> str:
    """The one line with which a catalogue is refused, for reading and for writing."""
    lines = set()
    for kind in (Catalog, CatalogWriter):
        with pytest.raises(IndexDataError) as caught:
            kind(path)
        lines.add(str(caught.value))
    (line,) = lines
    assert "\n" not in line
    return line


class TestFormats:
    def test_missing(self, tmp_path: Path) -> None:
        line = refuse(tmp_path / "catalog.sqlite")
        assert line.startswith(
            f"{tmp_path}: not an index (expected a folder with catalog.sqlite, found no such file); "
            "make one with `crossmatch index build`"
        )
        assert "found no such folder" in refuse(tmp_path / "no" / "catalog.sqlite")
        assert not (tmp_path / "catalog.sqlite").exists()

    def test_not_sqlite(self, tmp_path: Path) -> None:
        path = tmp_path / "catalog.sqlite"
        path.write_bytes(b"no database at all, and longer than a header" * 100)
        assert refuse(path).startswith(f"{path}: the catalogue can not be read (found file is not a database)")

    def test_another_database(self, tmp_path: Path) -> None:
        path = tmp_path / "catalog.sqlite"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE t (x)")
        assert "expected format 1, found another program's database" in refuse(path)

    def test_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "catalog.sqlite").touch()
        assert "another program's database" in refuse(tmp_path / "catalog.sqlite")

    def test_newer_format(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("PRAGMA user_version = 999")
        line = refuse(path)
        assert "expected format 1, found format 999" in line
        assert line.endswith("use the Crossmatch version that wrote it, or a newer one")

    def test_is_marked_as_ours(self, path: Path) -> None:
        assert path.read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"CRMT"


@pytest.mark.parametrize("kind", [Catalog, CatalogWriter])
def test_commits_are_durable(path: Path, kind: type[Catalog]) -> None:
    with kind(path) as catalog:
        assert catalog._value("PRAGMA synchronous") == 2  # FULL
        assert catalog._value("PRAGMA journal_mode") == "wal"
        assert catalog._value("PRAGMA foreign_keys") == 1


def test_a_reading_sees_one_state(path: Path) -> None:
    with CatalogWriter(path) as writer, Catalog(path) as reader:
        with reader.reading():
            assert reader.count_items() == 0
            insert(writer, "a")
            assert reader.count_items() == 0
        assert reader.count_items() == 1


def test_an_error_ends_a_reading(path: Path) -> None:
    with Catalog(path) as reader, CatalogWriter(path) as writer:
        with pytest.raises(ItemNotFoundError), reader.reading():
            reader.item(5)
        insert(writer, "a")
        with reader.reading():
            assert reader.count_items() == 1


def test_a_writing_that_fails_writes_nothing(path: Path) -> None:
    with CatalogWriter(path) as catalog:
        insert(catalog, "a")

        def stop() -> None:
            with catalog.writing():
                assert catalog.insert_item("b", None, {}, None) == 2
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            stop()
        assert catalog.count_items() == 1
        with catalog.writing():
            assert catalog.insert_item("b", None, {}, None) == 2  # nobody was ever told of the first 2


def test_a_commit_that_fails_writes_nothing(path: Path) -> None:
    with CatalogWriter(path) as catalog:

        def write() -> None:
            with catalog.writing():
                catalog.insert_item("a", None, {}, None)
                catalog.insert_picture(99, "hash", None)  # of no item

        with pytest.raises(sqlite3.IntegrityError):
            write()
        assert catalog.count_items() == 0
        insert(catalog, "a")


def test_a_second_writer_is_told_when_it_waits_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.05)
    with CatalogWriter(path) as first, CatalogWriter(path) as second:
        with first.writing():
            with pytest.raises(IndexBusyError) as caught, second.writing():
                pytest.fail("two writers at once")
            assert str(caught.value) == (
                f"{path.parent}: another process is writing to the index "
                "(expected its turn within 0 s, found database is locked); wait for it to end, or stop it"
            )
        insert(second, "a")
        assert first.count_items() == 1


def test_a_second_writer_waits_its_turn(path: Path) -> None:
    began = threading.Event()

    def hold() -> None:
        with CatalogWriter(path) as first, first.writing():
            first.insert_item("first", None, {}, None)
            began.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    began.wait()
    with CatalogWriter(path) as second, second.writing():
        assert second.insert_item("second", None, {}, None) == 2
    thread.join()


def test_a_reader_waits_for_no_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.0)
    with CatalogWriter(path) as writer, writer.writing():
        writer.insert_item("a", None, {}, None)
        with Catalog(path) as reader, reader.reading():
            assert reader.count_items() == 0


def test_the_log_is_folded_in(path: Path) -> None:
    with CatalogWriter(path) as catalog:
        insert(catalog, "a")
        log = path.with_name("catalog.sqlite-wal")
        assert log.stat().st_size > 0
        catalog.fold_log()
        assert log.stat().st_size == 0
        assert catalog.count_items() == 1


def test_a_writer_does_not_follow_to_another_index(path: Path, tmp_path: Path) -> None:
    """It holds ids and files of the one that was there; a reader opens what is there now."""
    with Catalog(path) as reader, CatalogWriter(path) as writer:
        insert(writer, "a")
        path.rename(tmp_path / "elsewhere.sqlite")
        CatalogWriter(path, create=True).close()
        with pytest.raises(IndexDataError, match="another index has been put at this place"):
            insert(writer, "b")
        with reader.reading():
            assert reader.count_items() == 0


def test_a_writer_whose_index_went_away_while_it_waited_writes_nothing(path: Path, tmp_path: Path) -> None:
    """Else it would be acknowledged in a folder that nobody finds."""
    waiting, failures = threading.Event(), list[Exception]()

    def write() -> None:
        with CatalogWriter(path) as second:
            waiting.set()
            try:
                insert(second, "lost")
            except IndexDataError as error:
                failures.append(error)

    thread = threading.Thread(target=write)
    with CatalogWriter(path) as first, first.writing():
        thread.start()
        waiting.wait()
        time.sleep(0.2)  # it is at `BEGIN IMMEDIATE` by now
        path.rename(tmp_path / "elsewhere.sqlite")
    thread.join()
    assert [str(error).partition(" (")[0] for error in failures] == [f"{path.parent}: not an index"]


def test_folding_the_log_keeps_no_writer_waiting_for_a_reader(path: Path) -> None:
    with Catalog(path) as reader, CatalogWriter(path) as one, CatalogWriter(path) as other:
        insert(one, "a")
        with reader.reading():
            assert reader.count_items() == 1
            insert(one, "b")
            folding = threading.Thread(target=one.fold_log)
            started = time.monotonic()
            folding.start()
            insert(other, "c")
            folding.join()
            assert time.monotonic() - started < 5
        assert reader.count_items() == 3
