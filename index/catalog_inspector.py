"""The catalogue against itself: SQLite's own check, the schema, every row's CRC, and the log's numbers.

A changed byte in a row, an index or the header is found; one in free space, in the counters of ids that are above
every id in use, or in SQLite's statistics of its own changes is not, and no answer hangs on those.
What may change here: more checks. SQL for checking lives here; all other, in `catalog` and `catalog_writer`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from index.catalog_writer import CatalogWriter
from index.database import COVERED, read_schema
from index.findings import Cure, Finding, fault

_SHOWN = 5  # SQLite's own complaints
_DAMAGE = (sqlite3.Error, UnicodeError)  # what reading a damaged catalogue raises
_KEYS = {"items": "key", "sources": "name", "generations": "name"}  # what people call a row


class CatalogInspector(CatalogWriter):
    """A connection that checks, and with `repair` may also mend."""

    def __init__(self, path: Path, *, repair: bool = False) -> None:
        """Raises IndexDataError."""
        self.writes = repair
        super().__init__(path)

    def inspect(self) -> list[Finding]:
        """Everything about the catalogue that is not as it was written."""
        checks: tuple[Callable[[], Iterator[Finding]], ...] = (
            *(self._check_pages, self._check_schema, self._check_rows),
            *(self._check_references, self._check_log, self._check_counters),
        )
        found: list[Finding] = []
        for check in checks:
            try:
                found += check()
            except _DAMAGE as error:
                found.append(fault(f"the catalogue can not be read: {error}", self.path))
        return list(dict.fromkeys(found))

    def rebuild_indexes(self) -> bool:
        """Make the indexes again from the rows; False, and nothing is changed, where that leaves a fault."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("REINDEX")
            whole = not self.inspect()
        except _DAMAGE:
            whole = False
        self._db.execute("COMMIT" if whole else "ROLLBACK")
        return whole

    def highest_picture_ever(self) -> int:
        """The highest id that a picture has had; 0 before the first."""
        return int(self._value("SELECT seq FROM sqlite_sequence WHERE name = 'pictures'") or 0)

    def _check_pages(self) -> Iterator[Finding]:
        lines = [row[0] for row in self._db.execute(f"PRAGMA integrity_check({_SHOWN})")]
        for line in lines:
            if line != "ok":
                yield fault(f"SQLite finds: {' '.join(line.split())}", self.path, Cure.INDEXES)
        if self._fingerprint is None and self._value("PRAGMA journal_mode") != "wal":
            yield fault("the header names another journal than a write-ahead log", self.path)

    def _check_schema(self) -> Iterator[Finding]:
        query = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'"
        model = sqlite3.connect(":memory:")
        try:
            model.executescript(read_schema())
            expected = set(model.execute(query))
        finally:
            model.close()
        for row in expected ^ set(self._db.execute(query)):
            yield fault(f"the definition of {row[1]} is not this format's", self.path)

    def _check_rows(self) -> Iterator[Finding]:
        for table, columns in COVERED.items():
            name = _KEYS.get(table, "rowid")
            query = f"SELECT {name} FROM {table} WHERE crc <> crc_of({', '.join(columns)})"
            try:
                for (row,) in self._db.execute(query):
                    yield fault(f"a row of {table} is not what was written: {row}", self.path)
            except _DAMAGE as error:
                yield fault(f"the table {table} can not be read: {error}", self.path)

    def _check_references(self) -> Iterator[Finding]:
        for table, row, parent, _ in self._db.execute("PRAGMA foreign_key_check"):
            yield fault(f"row {row} of {table} points to nothing in {parent}", self.path)
        without = "SELECT key FROM items WHERE NOT EXISTS (SELECT 1 FROM pictures WHERE item_id = items.id)"
        for (key,) in self._db.execute(without):
            yield fault(f"the item has no picture: {key}", self.path)
        if self._value("SELECT count(*) FROM generations WHERE active = 1 AND activated NOT NULL") != 1:
            yield fault("there is not exactly one active generation", self.path)

    def _check_log(self) -> Iterator[Finding]:
        newest = self.change_number()
        if newest != int(self._value("SELECT max(seq) FROM sqlite_sequence WHERE name = 'changes'") or 0):
            yield fault("the log of changes does not end with its last number", self.path)
        sealed = self._value("SELECT min(change_number) FROM snapshots")  # what has none is read without the log
        needed = newest if sealed is None else int(sealed)
        if self._value("SELECT count(*) FROM changes WHERE number > ?", needed) != newest - needed:
            yield fault("numbers are missing in the log of changes", self.path)

    def _check_counters(self) -> Iterator[Finding]:
        counters = dict(self._db.execute("SELECT name, seq FROM sqlite_sequence"))
        for name in counters.keys() - {"items", "pictures", "generations", "changes"}:
            yield fault(f"there is a counter of ids for no table: {name}", self.path)
        for table, logged in (("items", "max(item_id)"), ("pictures", "max(picture_id)"), ("generations", "0")):
            query = f"SELECT max(coalesce((SELECT max(id) FROM {table}), 0), coalesce({logged}, 0)) FROM changes"
            if int(counters.get(table, 0)) < int(self._value(query)):
                yield fault(f"the counter of ids of {table} is behind ids in use", self.path)
