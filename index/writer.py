"""Writes to an index: rows synced first, then one durable transaction of the catalogue, then they are acknowledged.

Writers of several processes take turns (`BEGIN IMMEDIATE`). What may change here: kinds of write. Not: that order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from index.catalog import Catalog
from index.layout import Layout
from index.types import Vectors, check_unit_vectors
from index.vectors import VectorWriter, row_crc


@dataclass(frozen=True, eq=False)
class NewItem:
    """An item to be, with its one picture, encoded."""

    key: str
    label: str | None
    metadata: dict[str, Any]
    source_id: int | None
    content_hash: str
    path: str | None  # relative to the source's root
    vector: Vectors = field(repr=False)  # (d,) float32, unit


class IndexWriter:
    """Writes to the active generation through one catalogue connection."""

    def __init__(self, layout: Layout, catalog: Catalog) -> None:
        self._catalog = catalog
        self._generation = catalog.active_generation()
        self._vectors = VectorWriter(layout.vectors(self._generation.name), self._generation.embedding_size)

    def __enter__(self) -> IndexWriter:
        self._vectors.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vectors.__exit__(kind, error, trace)

    def add(self, items: list[NewItem]) -> None:
        """Add items, all or none; they are durable and searchable when this returns."""
        if not items:
            return
        catalog = self._catalog
        rows = np.stack([item.vector for item in items])
        check_unit_vectors(rows)
        with catalog.writing():
            pictures = []
            for item in items:
                id_ = catalog.insert_item(item.key, item.label, item.metadata, item.source_id)
                pictures.append(catalog.insert_picture(id_, item.content_hash, item.path))
            self._vectors.write(pictures, rows)
            catalog.insert_vectors(self._generation, pictures, [row_crc(row) for row in rows])
