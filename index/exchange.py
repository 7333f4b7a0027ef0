"""Items and their vectors out of an index, and vectors that were made elsewhere into one.

An import is checked whole before its first row is written. What may change here: batch sizes. Not: that check, nor
that vectors of another model are refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from index.catalog import Catalog, EncodedItem, Generation
from index.catalog_writer import CatalogWriter
from index.errors import IndexDataError, ModelMismatchError, SourceError, VectorError
from index.holding import keeping_files
from index.layout import Layout
from index.parquet import ROWS
from index.snapshot import seal_when_due
from index.types import Ids, Vectors, unit_vectors
from index.vector_files import VectorBlock, VectorRecord, create_vector_file, iterate_vectors
from index.vectors import VectorMap, find_damaged
from index.view import GenerationHold
from index.writer import EncodedPicture, IndexWriter, Outcome, Put

_AS_IT_IS = 1e-5  # a length this near to 1 is float32's rounding: the vector stays bit for bit
_TOLERANCE = 1e-2  # a length this near to 1 is lower precision (float16, say): the vector is made a unit one again

OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class ExportReport:
    """What was written out."""

    items: int
    model: str
    change_number: int  # the items are those that lived after this change


@dataclass(frozen=True)
class ImportPlan:
    """How vectors are taken in."""

    assume_model: bool = False  # a file that names no model: its vectors are of the index's
    overwrite: bool = False  # other content under a key that is there: replace it, or leave it


@dataclass(frozen=True)
class ImportReport:
    """What came of an import, in items."""

    added: int
    replaced: int
    kept: int  # the same content was there under the key already
    taken: tuple[str, ...]  # keys that are there with other content, or that a source brought


@dataclass(frozen=True)
class VectorKind:
    """What vectors have to be to belong together."""

    model: str  # its id
    size: int


def export_items(layout: Layout, catalog: Catalog, output: Path, on_progress: OnProgress | None = None) -> ExportReport:
    """Every item with the vector that the active generation has of it, as one change left them.

    Raises UsageError for an `output` that exists or ends otherwise than .parquet or .npy, and IndexDataError for rows
    that are not what was written.
    """
    with keeping_files(layout), catalog.reading():
        generation, number = catalog.active_generation(), catalog.change_number()
        hold = GenerationHold(layout.generation(generation.name) / "manifest.json")
        rows = VectorMap(layout.vectors(generation.name), generation.embedding_size)
        total, done = catalog.count_items(), 0
        with create_vector_file(output, generation.model_id, generation.embedding_size) as sink:
            for page in _iterate_pages(catalog, generation):
                records = [
                    VectorRecord(one.item.key, one.item.label, one.item.metadata, one.content_hash) for one in page
                ]
                sink.write(records, _read_rows(layout, generation, rows, page))
                done += len(page)
                if on_progress:
                    on_progress(done, total)
        del hold
    return ExportReport(done, generation.model_id, number)


def _iterate_pages(catalog: Catalog, generation: Generation) -> Iterator[list[EncodedItem]]:
    after = 0
    while page := catalog.list_encoded(generation, after, ROWS):
        yield page
        after = page[-1].picture


def _read_rows(layout: Layout, generation: Generation, rows: VectorMap, page: list[EncodedItem]) -> Vectors:
    pictures: Ids = np.array([one.picture for one in page], dtype=np.int64)
    vectors = rows.read(pictures)
    damaged = find_damaged(vectors, np.array([one.crc for one in page], dtype=np.int64))
    if len(damaged):
        raise IndexDataError(
            "a row is not what was written",
            where=layout.vectors(generation.name),
            found=f"a wrong CRC for {page[int(damaged[0])].item.key!r}",
            remedy="run `crossmatch index verify --repair`",
        )
    return vectors


def check_vectors(path: Path, kind: VectorKind, plan: ImportPlan) -> int:
    """Read a file of vectors through; how many there are. Nothing is written.

    Raises VectorError for one of another size, that is not finite or not of length 1, ModelMismatchError for another
    model's, and SourceError for a key that is there twice or a row that does not fit.
    """
    seen: dict[str, int] = {}
    for block in iterate_vectors(path):
        _check_block(path, block, kind, plan)
        for number, record in enumerate(block.records, start=block.first + 1):
            if record.key in seen:
                raise SourceError(
                    f"the key {record.key!r} is there twice", where=path, found=f"rows {seen[record.key]} and {number}"
                )
            seen[record.key] = number
    if not seen:
        raise SourceError("holds no vectors", where=path)
    return len(seen)


def _check_block(path: Path, block: VectorBlock, kind: VectorKind, plan: ImportPlan) -> None:
    strangers = sorted(str(model) for model in block.models - {None, kind.model})
    if strangers or (None in block.models and not plan.assume_model):
        raise ModelMismatchError(
            "another model's vectors" if strangers else "the file does not say which model made its vectors",
            where=path,
            expected=f"model {kind.model}",
            found=strangers[0][:64] if strangers else None,
            remedy=None if strangers else "say --assume-model if they are of the index's",
        )
    if not block.records:
        return
    if block.vectors.shape[1] != kind.size:
        _refuse_row(path, block, 0, "wrong size", kind.size, block.vectors.shape[1])
    lengths = np.sqrt(np.einsum("nd,nd->n", block.vectors, block.vectors, dtype=np.float64))  # (n,)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= _TOLERANCE))  # NaN is not within anything
    if len(wrong):
        place = int(wrong[0])
        finite = bool(np.isfinite(block.vectors[place]).all())
        what, expected = ("not of length 1", "a length of 1") if finite else ("not finite", "finite values")
        _refuse_row(path, block, place, what, expected, f"length {lengths[place]:g}")


def _refuse_row(path: Path, block: VectorBlock, place: int, what: str, expected: object, found: object) -> NoReturn:
    where = f"{path}: row {block.first + place + 1} ({block.records[place].key!r})"
    raise VectorError(f"the vector is {what}", where=where, expected=expected, found=found)


def import_vectors(
    layout: Layout, catalog: CatalogWriter, path: Path, plan: ImportPlan, on_progress: OnProgress | None = None
) -> ImportReport:
    """Take the items of a file into an index, in big durable transactions; checked whole first.

    They have no original: showing one, or encoding it with another model, raises OriginalMissingError with its key,
    until its picture is added under the same key. Raises what `check_vectors` does.
    """
    generation = catalog.active_generation()
    kind = VectorKind(generation.model_id, generation.embedding_size)
    total = check_vectors(path, kind, plan)
    counts: Counter[Outcome] = Counter()
    taken: list[str] = []
    with IndexWriter(layout, catalog) as writer:
        for block in iterate_vectors(path):
            _check_block(path, block, kind, plan)  # again: the file may be another one by now
            outcomes = writer.apply(_make_puts(block, kind.model, plan.overwrite))
            counts.update(outcomes)
            for record, outcome in zip(block.records, outcomes, strict=True):
                if outcome is Outcome.TAKEN:
                    taken.append(record.key)
            if on_progress:
                on_progress(block.first + len(block.records), total)
    seal_when_due(layout, catalog)
    return ImportReport(counts[Outcome.ADDED], counts[Outcome.REPLACED], counts[Outcome.KEPT], tuple(taken))


def _make_puts(block: VectorBlock, model: str, overwrite: bool) -> list[Put]:
    if not block.records:
        return []
    vectors = _make_units(block.vectors)
    return [
        Put(record.key, record.label, record.metadata, None, _make_picture(record, vector, model), overwrite)
        for record, vector in zip(block.records, vectors, strict=True)
    ]


def _make_units(vectors: Vectors) -> Vectors:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]  # (n, 1)
    units: Vectors = np.where(np.abs(lengths - 1.0) <= _AS_IT_IS, vectors, unit_vectors(vectors))
    return units


def _make_picture(record: VectorRecord, vector: Vectors, model: str) -> EncodedPicture:
    """Where the file names no picture's content, the vector's own bytes stand for it."""
    content_hash = record.content_hash or hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()
    return EncodedPicture(content_hash, None, vector, model)
