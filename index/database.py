"""One SQLite connection to a catalogue: opened, checked for its format, and its transactions.

It follows its path: where the folder vanishes it says so, and where another catalogue lies there it opens that.
What may change here: how connections are opened, and migrations at the end of the list. Not: `synchronous=FULL`, on
which every acknowledged write hangs.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from index.errors import IndexBusyError, IndexDataError, IndexReadOnlyError
from index.layout import refuse_network_folder
from index.manifest import canonical_json
from index.reserve import explain_full, give_up_reserve, is_full, keep_reserve
from index.unwritable import Fingerprint, fingerprint, open_unwritable

APPLICATION_ID = 0x43524D54  # "CRMT", so that `file` and a wrong path can be told apart
SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
COVERED = {  # table -> the columns that its `crc` is over; the indexes hold the ids besides, and `vectors` the rows'
    "sources": ("name", "root", "listed", "complete"),
    "items": ("key", "label", "metadata", "source_id", "version"),
    "pictures": ("item_id", "content_hash", "path"),
    "generations": ("name", "model_id", "embedding_size", "recipe", "active", "activated"),
    "changes": ("kind", "item_id", "picture_id"),
    "snapshots": (
        *("generation_id", "change_number", "file", "digest", "entries_file", "entries_digest"),
        *("recipe", "entries", "pictures", "recall"),
    ),
}
_READ_ONLY = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


def crc_of(*values: str | int | float | None) -> int:
    """CRC-32 over the columns of a row; SQL calls it by this name."""
    return zlib.crc32(canonical_json(list(values)))


def read_schema() -> str:
    """The statements that make an empty catalogue."""
    return files("index").joinpath("schema.sql").read_text(encoding="utf-8")


class Database:
    """One connection, used by one thread at a time."""

    writes: bool = False  # whether the connection has to be one that can write

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the catalogue at `path`; with `create`, make it. Raises IndexDataError, on a network file system too."""
        self.path = path
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._fingerprint: Fingerprint | None = None  # of files that are read without SQLite's locks
        refuse_network_folder(path.parent)  # readers, too: see docs/decisions/0014
        if create:
            self._create()
        self._open()
        if self.writes:
            keep_reserve(path.parent)

    def _create(self) -> None:
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            pragmas = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            db.executescript(f"BEGIN; {read_schema()} {pragmas} COMMIT;")
        finally:
            db.close()

    # Opening, and staying with the path

    def _open(self) -> None:
        self.place = self._find_place()
        try:
            self._db = self._connect()
        except (sqlite3.Error, OSError, UnicodeError) as error:  # SQLite quotes damaged text in its messages
            raise self._explain(error) from error
        try:
            self._check_format()
            self._db.create_function("crc_of", -1, crc_of, deterministic=True)
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self.close()
            raise

    def _find_place(self) -> tuple[int, int]:
        """Device and inode of the catalogue at the path. Raises IndexDataError where there is none."""
        try:
            found = self.path.stat()
        except OSError as error:
            folder = self.path.parent
            raise IndexDataError(
                "not an index",
                where=folder,
                expected=f"a folder with {self.path.name}",
                found="no such file" if folder.is_dir() else "no such folder",
                remedy="make one with `crossmatch index build`, or mount the disk that holds it",
            ) from error
        return found.st_dev, found.st_ino

    def _connect(self) -> sqlite3.Connection:
        """A connection that has read from the catalogue, however it may be opened here."""
        while True:
            try:
                return self._try()
            except sqlite3.OperationalError as error:
                full = is_full(error)
                if full and give_up_reserve(self.path.parent):
                    continue
                if self.writes or not (full or _primary(error) in _READ_ONLY):
                    raise
            break
        opened = open_unwritable(self.path)
        self._copy, self._fingerprint = opened.copy, opened.fingerprint
        return opened.connection

    def _try(self) -> sqlite3.Connection:
        # One thread at a time uses it, though not always the one that opened it.
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens its log, too
            return db
        except BaseException:
            db.close()
            raise

    def _stay(self) -> None:
        """Before a transaction: be at the catalogue that lies at the path now. Raises IndexDataError."""
        place = self._find_place()
        if self.writes and place != self.place:  # a writer holds ids and files of the index that was here
            raise IndexDataError(
                "another index has been put at this place", where=self.path.parent, remedy="start again"
            )
        if place != self.place or (self._fingerprint is not None and self._fingerprint != fingerprint(self.path)):
            self.close()
            self._open()

    def _check_format(self) -> None:
        try:
            application = self._value("PRAGMA application_id")
            version = self._value("PRAGMA user_version")
        except (sqlite3.DatabaseError, UnicodeError) as error:
            raise IndexDataError("the catalogue can not be read", where=self.path, found=error) from error
        if application != APPLICATION_ID or version != SCHEMA_VERSION:
            raise IndexDataError(
                "an index format that this program does not read",
                where=self.path,
                expected=f"format {SCHEMA_VERSION}",
                found=f"format {version}" if application == APPLICATION_ID else "another program's database",
                remedy="use the Crossmatch version that wrote it, or a newer one",
            )

    def _explain(self, error: Exception) -> IndexDataError:
        if is_full(error):
            return explain_full(self.path.parent)
        if isinstance(error, sqlite3.Error) and _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return IndexBusyError(
                "another process is writing to the index",
                where=self.path.parent,
                expected=f"its turn within {BUSY_SECONDS:.0f} s",
                found=error,
                remedy="wait for it to end, or stop it",
            )
        if self.writes and isinstance(error, sqlite3.Error) and _primary(error) in _READ_ONLY:
            return IndexReadOnlyError(
                "the index can not be written",
                where=self.path.parent,
                expected="a folder that this user may write to",
                found=error,
                remedy=None if os.access(self.path.parent, os.W_OK) else "change its owner or its mode",
            )
        return IndexDataError(
            "the catalogue can not be read", where=self.path, found=error, remedy="restore the index from a backup"
        )

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
        self._fingerprint = None
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Transactions

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All statements inside see one and the same state. Raises IndexDataError where the folder has vanished."""
        self._stay()
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")  # nothing was written

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One durable transaction, or none of it.

        Raises IndexBusyError if other writers hold the index too long, IndexFullError if the disk is full.
        """
        self._stay()
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise self._explain(error) from error
        try:
            self._stay()  # again: while this waited for its turn, the folder may have been taken away
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if is_full(error):
                raise explain_full(self.path.parent) from error
            raise

    def copy_to(self, path: Path) -> None:
        """Copy the catalogue as one read transaction sees it into a new file; writers go on meanwhile."""
        self._stay()
        target = sqlite3.connect(path)
        try:
            self._db.backup(target)  # all pages in one step
        finally:
            target.close()

    def fold_log(self) -> None:
        """Move SQLite's write-ahead log into the catalogue, as far as no reader holds it."""
        self._db.execute("PRAGMA busy_timeout = 0")  # it would keep writers out while it waits for a reader
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")

    def _value(self, sql: str, *parameters: object) -> Any:
        row = self._db.execute(sql, parameters).fetchone()
        return None if row is None else row[0]


def _primary(error: sqlite3.Error) -> int:
    """SQLite's error code without what qualifies it."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
