"""What a catalogue says: items, pictures, which vector rows count, the log of changes, snapshots and generations.

Reading only; what alters a catalogue is `catalog_writer`'s. What may change here: queries. SQL lives in these two
modules, `database.py` and `schema.sql`, nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.database import Database
from index.errors import IndexDataError, ItemNotFoundError
from index.types import Ids, Item

_ITEM = "items.id, items.key, items.label, items.metadata, items.version"
_GENERATION = "id, name, model_id, embedding_size, recipe"


@dataclass(frozen=True)
class Generation:
    """One encoding of the gallery by one model."""

    id: int
    name: str
    model_id: str
    embedding_size: int
    recipe: str


@dataclass(frozen=True)
class Snapshot:
    """A sealed FAISS file: what it holds and what it was measured at."""

    change_number: int
    file: str
    digest: str
    entries_file: str
    entries_digest: str
    recipe: str
    entries: int
    pictures: int
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
class SourceItem:
    """An item that a source brought, as it was indexed."""

    id: int
    key: str
    label: str | None
    metadata: dict[str, Any]
    content_hash: str
    path: str | None


@dataclass(frozen=True)
class Owner:
    """Who has a key."""

    item: int
    source_id: int | None
    content_hash: str


@dataclass(frozen=True)
class PictureRecord:
    """An item's picture and where it is."""

    id: int
    item_id: int
    key: str
    content_hash: str
    path: str | None
    root: str | None
    source_id: int | None = None


@dataclass(frozen=True)
class EncodedItem:
    """An item, and which row of a generation is its picture's vector."""

    item: Item
    picture: int
    content_hash: str
    crc: int  # of the row


@dataclass(frozen=True)
class Changes:
    """What came after a change."""

    added: Ids  # (n,) picture ids, ascending
    removed: Ids  # (n,) picture ids, ascending
    sealed: bool  # a snapshot was sealed: a newer one is there, of the same pictures
    reload: bool  # these are not all: another generation answers, or the log was trimmed


class Catalog(Database):
    """The queries on one connection."""

    # The log and what is derived from it

    def change_number(self) -> int:
        """The number of the newest change; 0 before the first."""
        return int(self._value("SELECT max(number) FROM changes") or 0)

    def changes_after(self, number: int) -> Changes:
        """The net changes after `number`: a picture both added and removed is in neither."""
        added: set[int] = set()
        removed: set[int] = set()
        sealed = False
        found, newest = self._db.execute(
            "SELECT count(*), max(number) FROM changes WHERE number > ?", (number,)
        ).fetchone()
        reload = found and newest - number != found  # numbers are given without gaps
        query = "SELECT kind, picture_id FROM changes WHERE number > ? AND kind <> 'edit' ORDER BY number"
        for kind, picture in self._db.execute(query, (number,)):
            if kind == "add":
                added.add(picture)
            elif kind == "seal":
                sealed = True
            elif kind == "swap":
                reload = True
            elif picture in added:
                added.remove(picture)
            else:
                removed.add(picture)
        return Changes(_sorted_ids(added), _sorted_ids(removed), sealed, bool(reload))

    def removed_after(self, number: int) -> Ids:
        """(n,) ids of the pictures that were removed after a change, ascending."""
        query = "SELECT DISTINCT picture_id FROM changes WHERE number > ? AND kind = 'remove'"
        return _sorted_ids({row[0] for row in self._db.execute(query, (number,))})

    def active_generation(self) -> Generation:
        """The generation that answers. Raises IndexDataError if there is none."""
        row = self._db.execute(f"SELECT {_GENERATION} FROM generations WHERE active = 1").fetchone()
        if row is None:
            raise IndexDataError("the index has no active generation", where=self.path)
        return Generation(*row)

    def generations(self) -> list[Generation]:
        """Every generation that was once active, the newest activation first; the active one is the first."""
        query = f"SELECT {_GENERATION} FROM generations WHERE activated NOT NULL ORDER BY active DESC, activated DESC"
        return [Generation(*row) for row in self._db.execute(query)]

    def drafts(self) -> list[Generation]:
        """Generations that are still being encoded, or whose encoding was interrupted."""
        query = f"SELECT {_GENERATION} FROM generations WHERE activated IS NULL ORDER BY id"
        return [Generation(*row) for row in self._db.execute(query)]

    def count_generations_ever(self) -> int:
        """How many generations there have been, those cleared away included."""
        return int(self._value("SELECT max(seq) FROM sqlite_sequence WHERE name = 'generations'") or 0)

    def snapshot(self, generation: Generation) -> Snapshot | None:
        """The newest sealed snapshot of a generation."""
        row = self._db.execute(
            "SELECT change_number, file, digest, entries_file, entries_digest, recipe, entries, pictures, recall"
            " FROM snapshots WHERE generation_id = ?",
            (generation.id,),
        ).fetchone()
        return None if row is None else Snapshot(*row)

    def vector_ids(self, generation: Generation) -> Ids:
        """(n,) picture ids whose rows count, ascending."""
        return self.vector_crcs(generation)[0]

    def vector_crcs(self, generation: Generation) -> tuple[Ids, Ids]:
        """Picture ids (n,) whose rows count, ascending, and the CRCs (n,) of the rows."""
        query = "SELECT picture_id, crc FROM vectors WHERE generation_id = ? ORDER BY picture_id"
        rows = np.array(self._db.execute(query, (generation.id,)).fetchall(), dtype=np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    def pictures_without_vector(self, generation: Generation) -> list[PictureRecord]:
        """Live pictures that a generation has no row of."""
        return self._pictures(
            "WHERE NOT EXISTS (SELECT 1 FROM vectors WHERE generation_id = ? AND picture_id = pictures.id)",
            generation.id,
        )

    # Items and pictures

    def count_items(self) -> int:
        """How many items there are."""
        return int(self._value("SELECT count(*) FROM items"))

    def item(self, id_: int) -> Item:
        """An item by its id. Raises ItemNotFoundError."""
        row = self._db.execute(f"SELECT {_ITEM} FROM items WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise ItemNotFoundError("no such item", expected="the id of an item", found=id_)
        return _make_item(row)

    def find_item(self, key: str) -> Item | None:
        """An item by its key."""
        row = self._db.execute(f"SELECT {_ITEM} FROM items WHERE key = ?", (key,)).fetchone()
        return None if row is None else _make_item(row)

    def list_items(self, after: int, wanted: int) -> list[Item]:
        """Up to `wanted` items with an id above `after`, ascending."""
        rows = self._db.execute(f"SELECT {_ITEM} FROM items WHERE id > ? ORDER BY id LIMIT ?", (after, wanted))
        return [_make_item(row) for row in rows]

    def items_of_pictures(self, pictures: Iterable[int]) -> dict[int, Item]:
        """Picture id -> its item, for those that exist."""
        wanted = json.dumps([int(picture) for picture in pictures])
        rows = self._db.execute(
            f"SELECT {_ITEM}, pictures.id FROM json_each(?) AS wanted"
            " JOIN pictures ON pictures.id = wanted.value JOIN items ON items.id = pictures.item_id",
            (wanted,),
        )
        return {row[-1]: _make_item(row[:-1]) for row in rows}

    def sample_items(self, wanted: int) -> list[Item]:
        """Up to `wanted` items, evenly spread over the ids: the same ones each time for the same items."""
        low, high = self._db.execute("SELECT min(id), max(id) FROM items").fetchone()
        if low is None:
            return []
        places = json.dumps(np.unique(np.linspace(low, high, wanted, dtype=np.int64)).tolist())
        rows = self._db.execute(  # the first item at or after each place, found through the index on id
            f"SELECT DISTINCT {_ITEM} FROM json_each(?) AS place"
            " JOIN items ON items.id = (SELECT min(id) FROM items WHERE id >= place.value) ORDER BY items.id",
            (places,),
        )
        return [_make_item(row) for row in rows]

    def picture_of_item(self, item: int) -> PictureRecord:
        """The first picture of an item. Raises ItemNotFoundError."""
        records = self._pictures("WHERE item_id = ? ORDER BY pictures.id LIMIT 1", item)
        if not records:
            raise ItemNotFoundError("no such item", expected="the id of an item", found=item)
        return records[0]

    def list_encoded(self, generation: Generation, after: int, wanted: int) -> list[EncodedItem]:
        """Up to `wanted` items whose pictures have a row in a generation, by picture id, from above `after` on."""
        rows = self._db.execute(
            f"SELECT {_ITEM}, pictures.id, content_hash, vectors.crc FROM vectors"
            " JOIN pictures ON pictures.id = picture_id JOIN items ON items.id = item_id"
            " WHERE generation_id = ? AND picture_id > ? ORDER BY picture_id LIMIT ?",
            (generation.id, after, wanted),
        )
        return [EncodedItem(_make_item(row[:5]), *row[5:]) for row in rows]

    def picture(self, id_: int) -> PictureRecord:
        """A picture by its id. Raises ItemNotFoundError."""
        records = self._pictures("WHERE pictures.id = ?", id_)
        if not records:
            raise ItemNotFoundError("no such picture", expected="the id of a picture", found=id_)
        return records[0]

    def labelled_pictures(self, generation: Generation) -> list[tuple[int, str]]:
        """(picture id, label) of the pictures with a row whose items have a label, ascending by id."""
        query = (
            "SELECT picture_id, label FROM vectors JOIN pictures ON pictures.id = picture_id"
            " JOIN items ON items.id = item_id WHERE generation_id = ? AND label NOT NULL ORDER BY picture_id"
        )
        return [(picture, label) for picture, label in self._db.execute(query, (generation.id,))]

    def all_pictures(self) -> list[PictureRecord]:
        """Every live picture, ascending by id."""
        return self._pictures("ORDER BY pictures.id")

    def items_of_source(self, source: int) -> dict[str, SourceItem]:
        """Key -> item, for the items that a source brought."""
        rows = self._db.execute(
            "SELECT items.id, key, label, metadata, content_hash, path FROM items"
            " JOIN pictures ON item_id = items.id WHERE source_id = ?",
            (source,),
        )
        return {row[1]: SourceItem(row[0], row[1], row[2], json.loads(row[3]), row[4], row[5]) for row in rows}

    def contents_besides(self, source: int) -> dict[str, str]:
        """Key -> content hash, for the items that a source did not bring."""
        query = "SELECT key, content_hash FROM items JOIN pictures ON item_id = items.id WHERE source_id IS NOT ?"
        return dict(self._db.execute(query, (source,)).fetchall())

    def rows_of_source(self, generation: Generation, source: int) -> dict[str, tuple[int, int]]:
        """Content hash -> (picture id, CRC of its row), for one picture of each content that a source brought."""
        rows = self._db.execute(
            "SELECT content_hash, picture_id, vectors.crc FROM items JOIN pictures ON item_id = items.id"
            " JOIN vectors ON picture_id = pictures.id WHERE source_id = ? AND generation_id = ?",
            (source, generation.id),
        )
        return {content_hash: (picture, crc) for content_hash, picture, crc in rows}

    def find_owner(self, key: str) -> Owner | None:
        """Which item has a key, and the content of its picture."""
        row = self._db.execute(
            "SELECT items.id, source_id, content_hash FROM items JOIN pictures ON item_id = items.id WHERE key = ?",
            (key,),
        ).fetchone()
        return None if row is None else Owner(*row)

    def has_item(self, item: int) -> bool:
        """Whether an item lives."""
        return bool(self._value("SELECT EXISTS (SELECT 1 FROM items WHERE id = ?)", item))

    def has_picture(self, picture: int) -> bool:
        """Whether a picture lives."""
        return bool(self._value("SELECT EXISTS (SELECT 1 FROM pictures WHERE id = ?)", picture))

    def living_contents(self, hashes: Iterable[str]) -> set[str]:
        """Those of some content hashes that a live picture has."""
        query = "SELECT content_hash FROM pictures WHERE content_hash IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._db.execute(query, (json.dumps(list(hashes)),))}

    def _pictures(self, clause: str, *parameters: object) -> list[PictureRecord]:
        rows = self._db.execute(
            "SELECT pictures.id, item_id, key, content_hash, path, root, source_id FROM pictures"
            f" JOIN items ON items.id = item_id LEFT JOIN sources ON sources.id = source_id {clause}",
            parameters,
        )
        return [PictureRecord(*row) for row in rows]

    def sources(self) -> list[SourceState]:
        """Every source that the index keeps in step with."""
        rows = self._db.execute("SELECT id, name, root, listed, complete FROM sources ORDER BY id")
        return [SourceState(id_, name, root, listed, bool(done)) for id_, name, root, listed, done in rows]


def _sorted_ids(ids: set[int]) -> Ids:
    return np.array(sorted(ids), dtype=np.int64)


def _make_item(row: tuple[int, str, str | None, str, int]) -> Item:
    id_, key, label, metadata, version = row
    return Item(id_, key, label, json.loads(metadata), version)
