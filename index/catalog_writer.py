"""What alters a catalogue: each method is a step inside a transaction that the caller opened with `writing()`.

Every step that a search could notice leaves a line in the log of changes. What may change here: kinds of change.
"""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import Any

from index.catalog import Catalog, Generation, Snapshot
from index.database import COVERED
from index.errors import IndexDataError


class CatalogWriter(Catalog):
    """A connection that also writes. Every row that it puts or alters gets its CRC."""

    writes: bool = True

    # Items

    def insert_item(self, key: str, label: str | None, metadata: dict[str, Any], source: int | None) -> int:
        """A new item; its id."""
        cursor = self._db.execute(
            "INSERT INTO items (key, label, metadata, source_id, crc)"
            " VALUES (?1, ?2, ?3, ?4, crc_of(?1, ?2, ?3, ?4, 1))",
            (key, label, json.dumps(metadata, ensure_ascii=False), source),
        )
        return int(cursor.lastrowid or 0)

    def edit_item(self, item: int, key: str, label: str | None, metadata: dict[str, Any]) -> None:
        """Other fields for an item, whose version counts up; the log gets an `edit`."""
        self._db.execute(
            "UPDATE items SET key = ?, label = ?, metadata = ?, version = version + 1 WHERE id = ?",
            (key, label, json.dumps(metadata, ensure_ascii=False), item),
        )
        self._stamp("items", "id = ?", item)
        self._log("edit", item)

    def delete_item(self, item: int) -> None:
        """An item is gone, with its pictures and their rows in every generation; the log gets a `remove` for each."""
        self._log_removal("item_id = ?", item)
        self._db.execute("DELETE FROM items WHERE id = ?", (item,))

    # Pictures and their rows

    def insert_picture(self, item: int, content_hash: str, path: str | None) -> int:
        """A new picture of an item; its id, which is its row number in `vectors.f32`."""
        cursor = self._db.execute(
            "INSERT INTO pictures (item_id, content_hash, path, crc) VALUES (?1, ?2, ?3, crc_of(?1, ?2, ?3))",
            (item, content_hash, path),
        )
        return int(cursor.lastrowid or 0)

    def move_picture(self, picture: int, path: str) -> None:
        """The same picture lies elsewhere now."""
        self._db.execute("UPDATE pictures SET path = ? WHERE id = ?", (path, picture))
        self._stamp("pictures", "id = ?", picture)

    def delete_pictures(self, item: int) -> None:
        """An item's pictures are gone, to be replaced; the log gets a `remove` for each."""
        self._log_removal("item_id = ?", item)
        self._db.execute("DELETE FROM pictures WHERE item_id = ?", (item,))

    def _log_removal(self, condition: str, *parameters: object) -> None:
        self._db.execute(
            "INSERT INTO changes (kind, item_id, picture_id, crc)"
            f" SELECT 'remove', item_id, id, crc_of('remove', item_id, id) FROM pictures WHERE {condition} ORDER BY id",
            parameters,
        )

    def insert_vectors(self, generation: Generation, pictures: list[int], crcs: list[int]) -> None:
        """From now on these rows of a generation count. Only `log_added` makes a search see them."""
        self._db.executemany(
            "INSERT OR REPLACE INTO vectors (generation_id, picture_id, crc) VALUES (?, ?, ?)",
            [(generation.id, picture, crc) for picture, crc in zip(pictures, crcs, strict=True)],
        )

    def log_added(self, pictures: list[int]) -> None:
        """The log gets an `add` for each picture."""
        self._db.executemany(
            "INSERT INTO changes (kind, item_id, picture_id, crc)"
            " SELECT 'add', item_id, id, crc_of('add', item_id, id) FROM pictures WHERE id = ?",
            [(picture,) for picture in pictures],
        )

    def _log(self, kind: str, item: int | None = None) -> None:
        self._db.execute(
            "INSERT INTO changes (kind, item_id, crc) VALUES (?1, ?2, crc_of(?1, ?2, NULL))",
            (kind, item),
        )

    def _stamp(self, table: str, condition: str, *parameters: object) -> None:
        """Bring the CRCs of some rows into step with their columns."""
        columns = ", ".join(COVERED[table])
        self._db.execute(f"UPDATE {table} SET crc = crc_of({columns}) WHERE {condition}", parameters)

    # Sources

    def put_source(self, name: str, root: str, listed: int) -> int:
        """Note that a source is being indexed; its id."""
        self._db.execute(
            "INSERT INTO sources (name, root, listed, complete, crc) VALUES (?1, ?2, ?3, 0, 0)"
            " ON CONFLICT (name) DO UPDATE SET root = ?2, listed = ?3, complete = 0",
            (name, root, listed),
        )
        self._stamp("sources", "name = ?", name)
        return int(self._value("SELECT id FROM sources WHERE name = ?", name))

    def move_source(self, name: str, root: str) -> None:
        """The pictures of a source lie below another folder now, at the same relative paths."""
        self._db.execute("UPDATE sources SET root = ? WHERE name = ?", (root, name))
        self._stamp("sources", "name = ?", name)

    def delete_source(self, source: int) -> None:
        """A source that no item is of is forgotten."""
        self._db.execute(
            "DELETE FROM sources WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM items WHERE source_id = ?1)", (source,)
        )

    def complete_source(self, source: int) -> None:
        """Note that all pictures of a source were indexed or skipped."""
        self._db.execute("UPDATE sources SET complete = 1 WHERE id = ?", (source,))
        self._stamp("sources", "id = ?", source)

    # Generations and snapshots

    def insert_generation(self, name: str, model_id: str, embedding_size: int, recipe: str) -> Generation:
        """A generation to be encoded; it is not active."""
        cursor = self._db.execute(
            "INSERT INTO generations (name, model_id, embedding_size, recipe, active, crc)"
            " VALUES (?1, ?2, ?3, ?4, 0, crc_of(?1, ?2, ?3, ?4, 0, NULL))",
            (name, model_id, embedding_size, recipe),
        )
        return Generation(int(cursor.lastrowid or 0), name, model_id, embedding_size, recipe)

    def activate_generation(self, generation: Generation) -> None:
        """From now on this generation answers; the log gets a `swap`. Raises IndexDataError if it was cleared away."""
        self._log("swap")
        self._db.execute("UPDATE generations SET active = 0 WHERE active = 1")
        cursor = self._db.execute(
            "UPDATE generations SET active = 1, activated = ? WHERE id = ?", (self.change_number(), generation.id)
        )
        if cursor.rowcount != 1:
            raise IndexDataError("the generation was cleared away meanwhile", where=self.path, found=generation.name)
        self._stamp("generations", "TRUE")

    def delete_generation(self, generation: Generation) -> None:
        """A generation that is not active is gone, with its rows and snapshot."""
        self._db.execute("DELETE FROM generations WHERE id = ? AND active = 0", (generation.id,))

    def set_recipe(self, generation: Generation, recipe: str) -> None:
        """Snapshots of a generation are built with this recipe from now on."""
        self._db.execute("UPDATE generations SET recipe = ? WHERE id = ?", (recipe, generation.id))
        self._stamp("generations", "id = ?", generation.id)

    def put_snapshot(self, generation: Generation, snapshot: Snapshot) -> None:
        """Switch a generation to a newer snapshot; the log gets a `seal`."""
        self._db.execute(
            "INSERT OR REPLACE INTO snapshots (generation_id, change_number, file, digest, entries_file,"
            " entries_digest, recipe, entries, pictures, recall, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (generation.id, *astuple(snapshot)),
        )
        self._stamp("snapshots", "generation_id = ?", generation.id)
        self._log("seal")

    def delete_snapshot(self, generation: Generation) -> None:
        """A generation has no snapshot; nothing that a search finds hangs on it."""
        self._db.execute("DELETE FROM snapshots WHERE generation_id = ?", (generation.id,))

    def trim_log(self) -> None:
        """Forget the changes that every generation's snapshot holds already; readers that know less load anew.

        A reader replays what came after its own number, and sees that lines are missing by gaps in the numbers.
        """
        self._db.execute(
            "DELETE FROM changes WHERE kind IN ('add', 'remove', 'edit') AND number <="
            " (SELECT min(coalesce(change_number, 0)) FROM generations LEFT JOIN snapshots ON generation_id = id)"
        )
