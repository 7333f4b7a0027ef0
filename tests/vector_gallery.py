"""An index of bare vectors, made in milliseconds, and what an exact search over it must answer.

What may change here: ways to fill and to damage an index. The oracle shares no line with the code that it judges.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from index.builder import create_index
from index.bundle import Bundle
from index.catalog import Catalog, Snapshot
from index.layout import Layout
from index.snapshot import seal_snapshot
from index.types import SearchResult, Vectors
from index.writer import IndexWriter, NewItem

Answers = list[tuple[int, float]]  # (item id, score), best first
NOBODY = "0" * 64  # the content hash of pictures that never were


def make_index(folder: Path, bundle: Bundle) -> Layout:
    """An index without items."""
    layout = Layout(folder)
    create_index(layout, bundle)
    return layout


def draw_rows(count: int, seed: int = 0, size: int = 16) -> Vectors:
    """(count, size) float32 unit vectors."""
    rows = np.random.default_rng(seed).normal(size=(count, size))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def new_item(key: str, vector: Vectors) -> NewItem:
    """An item without a picture file."""
    return NewItem(key, None, {}, None, NOBODY, None, vector)


def add_rows(layout: Layout, rows: Vectors, prefix: str = "item") -> None:
    """One acknowledged batch; in a new index, item and picture ids count from 1 on."""
    with Catalog(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        writer.add([new_item(f"{prefix}-{number}", row) for number, row in enumerate(rows)])


def seal(layout: Layout) -> Snapshot | None:
    """Seal what lives now."""
    with Catalog(layout.catalog) as catalog:
        return seal_snapshot(layout, catalog)


def remove_items(layout: Layout, ids: Iterable[int]) -> None:
    """What a removal is to every reader: the rows gone, and a `remove` in the log, in one transaction."""
    db = sqlite3.connect(layout.catalog, isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("BEGIN IMMEDIATE")
    for item in ids:
        db.execute(
            "INSERT INTO changes (kind, picture_id) SELECT 'remove', id FROM pictures WHERE item_id = ?", (item,)
        )
        db.execute("DELETE FROM items WHERE id = ?", (item,))
    db.execute("COMMIT")
    db.close()


def number_rows(rows: Vectors, first: int = 1) -> dict[int, Vectors]:
    """Item id -> vector, as a new index gives ids to one batch."""
    return dict(enumerate(rows, start=first))


def expect(living: Mapping[int, Vectors], query: Vectors, k: int) -> Answers:
    """Brute force: each cosine summed without rounding, then float32; by descending score, equal ones by id."""
    scored = [(item, float(np.float32(_cosine(row, query)))) for item, row in living.items()]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def _cosine(row: Vectors, query: Vectors) -> float:
    exact = math.fsum(a * b for a, b in zip(row.astype(float).tolist(), query.astype(float).tolist(), strict=True))
    return min(1.0, max(-1.0, exact))


def answers(result: SearchResult) -> Answers:
    """What a search gave."""
    return [(match.item.id, match.score) for match in result.matches]
