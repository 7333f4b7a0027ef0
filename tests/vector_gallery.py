"""An index of bare vectors, made in milliseconds, and what an exact search over it must answer.

What may change here: ways to fill and to damage an index. The oracle shares no line with the code that it judges.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from index.bundle import Bundle
from index.catalog import Catalog, Generation, Snapshot
from index.catalog_writer import CatalogWriter
from index.creation import create_index
from index.layout import Layout
from index.snapshot import seal_snapshot
from index.types import SearchResult, Vectors
from index.writer import EncodedPicture, IndexWriter, Outcome, Put, Remove, Write

Answers = list[tuple[int, float]]  # (item id, score), best first


def make_index(folder: Path, bundle: Bundle, recipe: str = "flat") -> Layout:
    """An index without items."""
    layout = Layout(folder)
    create_index(layout, bundle, recipe)
    return layout


def generation_of(layout: Layout) -> Generation:
    """The active generation."""
    with Catalog(layout.catalog) as catalog:
        return catalog.active_generation()


def draw_rows(count: int, seed: int = 0, size: int = 16) -> Vectors:
    """(count, size) float32 unit vectors."""
    rows = np.random.default_rng(seed).normal(size=(count, size))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def encoded(vector: Vectors, model: str) -> EncodedPicture:
    """A picture without a file, whose content is its vector."""
    return EncodedPicture(hashlib.sha256(vector.tobytes()).hexdigest(), None, vector, model)


def new_put(key: str, vector: Vectors, model: str, *, replace: bool = False) -> Put:
    """An item without a picture file."""
    return Put(key, None, {}, None, encoded(vector, model), replace)


def apply(layout: Layout, writes: Sequence[Write]) -> list[Outcome]:
    """One acknowledged batch."""
    with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        return writer.apply(writes)


def add_rows(layout: Layout, rows: Vectors, prefix: str = "item") -> None:
    """One acknowledged batch; in a new index, item and picture ids count from 1 on."""
    model = generation_of(layout).model_id
    done = apply(layout, [new_put(f"{prefix}-{number}", row, model) for number, row in enumerate(rows)])
    assert done == [Outcome.ADDED] * len(rows)


def replace_row(layout: Layout, key: str, row: Vectors) -> None:
    """Another picture for an item that is there; its picture id is a new one."""
    assert apply(layout, [new_put(key, row, generation_of(layout).model_id, replace=True)]) == [Outcome.REPLACED]


def remove_items(layout: Layout, ids: Iterable[int]) -> None:
    """One acknowledged batch of removals."""
    writes = [Remove(item) for item in ids]
    assert apply(layout, writes) == [Outcome.REMOVED] * len(writes)


def seal(layout: Layout) -> Snapshot | None:
    """Seal what lives now."""
    with CatalogWriter(layout.catalog) as catalog:
        return seal_snapshot(layout, catalog)


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
