"""`catalog.sqlite`: items, pictures, which vector rows count, the log of changes, snapshots and generations.

A `Catalog` is one connection, used by one thread at a time. Its methods are single statements or one step of a
transaction that the caller opens with `reading()` or `writing()`. What may change here: queries, and migrations at
the end of the list. SQL lives in this module and `schema.sql`, nowhere else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from index.errors import IndexBusyError, IndexDataError
from index.types import Ids, Item

APPLICATION_ID = 0x43524D54  # "CRMT", so that `file` and a wrong path can be told apart
SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0


@dataclass(frozen=True)
class Generation:
    """One encoding of the gallery by one model."""

    id: int
    name: str
    model_id: str
    embedding_size: int


@dataclass(frozen=True)
class Snapshot:
    """A sealed FAISS file: what it holds and what it was measured at."""

    change_number: int
    file: str
    digest: str
    recipe: str
    entries: int
    recall: float


@dataclass(frozen=True)
class SourceState:
    """How far the indexing of a source has come."""

    id: int
    name: str
    root: str
    listed: int
    complete: bool


@dataclass(frozen=True)
class PictureRecord:
    """Where an item's picture is."""

    id: int
    content_hash: str
    path: str | None
    root: str | None


class Catalog:
    """One connection to a catalogue."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the catalogue at `path`; with `create`, make it. Raises IndexDataError."""
        self.path = path
        if not create and not path.is_file():
            raise IndexDataError(
                "not an index",
                where=path.parent,
                expected=f"a folder with {path.name}",
                found="no such file" if path.parent.is_dir() else "no such folder",
                remedy="make one with `crossmatch index build`",
            )
        # One thread at a time uses it, though not always the one that opened it.
        self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            if create:
                self._create()
            self._check_format()
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._db.close()
            raise

    def _create(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        schema = files("index").joinpath("schema.sql").read_text(encoding="utf-8")
        pragmas = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        self._db.executescript(f"BEGIN; {schema} {pragmas} COMMIT;")

    def _check_format(self) -> None:
        try:
            application = self._value("PRAGMA application_id")
            version = self._value("PRAGMA user_version")
        except sqlite3.DatabaseError as error:
            raise IndexDataError("the catalogue can not be read", where=self.path, found=error) from error
        if application != APPLICATION_ID or version != SCHEMA_VERSION:
            raise IndexDataError(
                "an index format that this program does not read",
                where=self.path,
                expected=f"format {SCHEMA_VERSION}",
                found=f"format {version}" if application == APPLICATION_ID else "another program's database",
                remedy="use the Crossmatch version that wrote it, or a newer one",
            )

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Transactions

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All statements inside see one and the same state."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")  # nothing was written

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One durable transaction, or none of it. Raises IndexBusyError if other writers hold the index too long."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise IndexDataError("the index can not be written", where=self.path, found=error) from error
            raise IndexBusyError(
                "another process is writing to the index",
                where=self.path.parent,
                expected=f"its turn within {BUSY_SECONDS:.0f} s",
                found=error,
                remedy="wait for it to end, or stop it",
            ) from error
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # Reading

    def _value(self, sql: str, *parameters: object) -> Any:
        row = self._db.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def change_number(self) -> int:
        """The number of the newest change; 0 before the first."""
        return int(self._value("SELECT max(number) FROM changes") or 0)

    def must_reload(self, number: int) -> bool:
        """Whether a snapshot was sealed or the generation swapped after a change."""
        query = "SELECT EXISTS (SELECT 1 FROM changes WHERE number > ? AND kind IN ('seal', 'swap'))"
        return bool(self._value(query, number))

    def active_generation(self) -> Generation:
        """The generation that answers. Raises IndexDataError if there is none."""
        row = self._db.execute("SELECT id, name, model_id, embedding_size FROM generations WHERE active = 1").fetchone()
        if row is None:
            raise IndexDataError("the index has no active generation", where=self.path)
        return Generation(*row)

    def snapshot(self, generation: Generation) -> Snapshot | None:
        """The newest sealed snapshot of a generation."""
        row = self._db.execute(
            "SELECT change_number, file, digest, recipe, entries, recall FROM snapshots WHERE generation_id = ?",
            (generation.id,),
        ).fetchone()
        return None if row is None else Snapshot(*row)

    def changes_after(self, number: int) -> tuple[Ids, Ids]:
        """Picture ids (n,) added and removed after a change, ascending; one both added and removed is in neither."""
        added: set[int] = set()
        removed: set[int] = set()
        query = "SELECT kind, picture_id FROM changes WHERE number > ? AND picture_id NOT NULL ORDER BY number"
        for kind, picture in self._db.execute(query, (number,)):
            if kind == "add":
                added.add(picture)
            elif picture in added:
                added.remove(picture)
            else:
                removed.add(picture)
        return np.array(sorted(added), dtype=np.int64), np.array(sorted(removed), dtype=np.int64)

    def vector_ids(self, generation: Generation) -> Ids:
        """(n,) picture ids whose rows count, ascending."""
        query = "SELECT picture_id FROM vectors WHERE generation_id = ? ORDER BY picture_id"
        return np.array([row[0] for row in self._db.execute(query, (generation.id,))], dtype=np.int64)

    def count_items(self) -> int:
        """How many items there are."""
        return int(self._value("SELECT count(*) FROM items"))

    def items_of_pictures(self, pictures: Iterable[int]) -> dict[int, Item]:
        """Picture id -> its item, for those that exist."""
        wanted = json.dumps([int(picture) for picture in pictures])
        rows = self._db.execute(
            "SELECT pictures.id, items.id, items.key, label, metadata FROM json_each(?) AS wanted"
            " JOIN pictures ON pictures.id = wanted.value JOIN items ON items.id = pictures.item_id",
            (wanted,),
        )
        return {picture: Item(id_, key, label, json.loads(data)) for picture, id_, key, label, data in rows}

    def picture_of_item(self, item: int) -> PictureRecord | None:
        """The picture of an item, and the folder it lies under."""
        row = self._db.execute(
            "SELECT pictures.id, content_hash, path, root FROM pictures JOIN items ON items.id = item_id"
            " LEFT JOIN sources ON sources.id = source_id WHERE item_id = ?",
            (item,),
        ).fetchone()
        return None if row is None else PictureRecord(*row)

    def sample_items(self, count: int) -> list[Item]:
        """Up to `count` items, evenly spread over the ids: the same ones each time for the same items."""
        total = self.count_items()
        rows = self._db.execute(
            "SELECT id, key, label, metadata FROM (SELECT *, row_number() OVER (ORDER BY id) - 1 AS place FROM items)"
            " WHERE place % ? = 0 LIMIT ?",
            (max(1, total // max(1, count)), count),
        )
        return [Item(id_, key, label, json.loads(data)) for id_, key, label, data in rows]

    def source_hashes(self, source: int) -> dict[str, str]:
        """Key -> content hash of the items that a source brought."""
        rows = self._db.execute(
            "SELECT key, content_hash FROM items JOIN pictures ON item_id = items.id WHERE source_id = ?", (source,)
        )
        return dict(rows.fetchall())

    def sources(self) -> list[SourceState]:
        """Every source that was ever indexed."""
        rows = self._db.execute("SELECT id, name, root, listed, complete FROM sources ORDER BY id")
        return [SourceState(id_, name, root, listed, bool(done)) for id_, name, root, listed, done in rows]

    # Writing, inside `writing()`

    def insert_generation(self, name: str, model_id: str, embedding_size: int) -> None:
        """A new generation, which becomes the active one; the log gets a `swap`."""
        self._db.execute("UPDATE generations SET active = 0")
        self._db.execute(
            "INSERT INTO generations (name, model_id, embedding_size, active) VALUES (?, ?, ?, 1)",
            (name, model_id, embedding_size),
        )
        self._db.execute("INSERT INTO changes (kind) VALUES ('swap')")

    def put_source(self, name: str, root: str, listed: int) -> int:
        """Note that a source is being indexed; its id."""
        self._db.execute(
            "INSERT INTO sources (name, root, listed, complete) VALUES (?1, ?2, ?3, 0)"
            " ON CONFLICT (name) DO UPDATE SET root = ?2, listed = ?3, complete = 0",
            (name, root, listed),
        )
        return int(self._value("SELECT id FROM sources WHERE name = ?", name))

    def complete_source(self, source: int) -> None:
        """Note that all pictures of a source were indexed or skipped."""
        self._db.execute("UPDATE sources SET complete = 1 WHERE id = ?", (source,))

    def insert_item(self, key: str, label: str | None, metadata: dict[str, Any], source: int | None) -> int:
        """A new item; its id."""
        cursor = self._db.execute(
            "INSERT INTO items (key, label, metadata, source_id) VALUES (?, ?, ?, ?)",
            (key, label, json.dumps(metadata, ensure_ascii=False), source),
        )
        return int(cursor.lastrowid or 0)

    def insert_picture(self, item: int, content_hash: str, path: str | None) -> int:
        """A new picture of an item; its id, which is its row number in `vectors.f32`."""
        cursor = self._db.execute(
            "INSERT INTO pictures (item_id, content_hash, path) VALUES (?, ?, ?)", (item, content_hash, path)
        )
        return int(cursor.lastrowid or 0)

    def insert_vectors(self, generation: Generation, pictures: list[int], crcs: list[int]) -> None:
        """From now on these rows count; the log gets an `add` for each."""
        self._db.executemany(
            "INSERT INTO vectors (generation_id, picture_id, crc) VALUES (?, ?, ?)",
            [(generation.id, picture, crc) for picture, crc in zip(pictures, crcs, strict=True)],
        )
        self._db.executemany(
            "INSERT INTO changes (kind, picture_id) VALUES ('add', ?)", [(picture,) for picture in pictures]
        )

    def put_snapshot(self, generation: Generation, snapshot: Snapshot) -> None:
        """Switch a generation to a newer snapshot; the log gets a `seal`."""
        self._db.execute("INSERT INTO changes (kind) VALUES ('seal')")
        self._db.execute(
            "INSERT OR REPLACE INTO snapshots (generation_id, change_number, file, digest, recipe, entries, recall)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                generation.id,
                snapshot.change_number,
                snapshot.file,
                snapshot.digest,
                snapshot.recipe,
                snapshot.entries,
                snapshot.recall,
            ),
        )
