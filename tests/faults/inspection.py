"""Opens an index with the real code and says what it holds, and everything about it that can not be right.

Vectors, searches and files are judged here, against the gallery; which items should be there is the oracle's.
What may change here: more that is looked at.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from index.bundle import read_bundle
from index.catalog import Catalog, Generation
from index.encoding import hash_content
from index.images import ImageLimits, decode
from index.layout import Layout
from index.originals import read_thumbnail
from index.queries import MAX_K
from index.searcher import Searcher
from index.thumbnails import SIDE, draw_thumbnail
from index.types import SearchResult, Vectors
from index.vectors import VectorMap, row_crc
from tests.faults.gallery import Gallery
from tests.faults.processes import compute_apart

_ROUNDING = 1e-5
_PROBES = 6  # items that are searched for with a small k


@dataclass(frozen=True)
class Seen:
    """An item as the index has it."""

    id: int
    label: str | None
    note: int | None
    content: int | None  # number in the gallery; None: none of its pictures
    version: int
    path: str | None  # in its source; None: in originals/


@dataclass
class Observation:
    """What an index holds, and what is wrong with it by itself."""

    items: dict[str, Seen] = field(default_factory=dict)  # by key
    model: int | None = None  # the active generation's; None: there is no index
    findings: list[str] = field(default_factory=list)


def inspect_apart(folder: Path, gallery: Gallery, before: Callable[[], object] = lambda: None) -> Observation:
    """`inspect_index` in a child, after `before`: a child that crashes or hangs is a finding, too."""

    def work() -> Observation:
        before()
        return inspect_index(folder, gallery)

    try:
        return compute_apart(work)
    except (RuntimeError, TimeoutError) as error:
        return Observation(model=0, findings=[f"the process that opened it: {error}"])


def inspect_index(folder: Path, gallery: Gallery) -> Observation:
    """Open, read and search an index."""
    found = Observation()
    layout = Layout(folder)
    if not layout.is_index():
        return found
    logging.getLogger("index").setLevel(logging.ERROR)
    try:
        with Catalog(layout.catalog) as catalog:
            generation = catalog.active_generation()
            found.model = gallery.model_of(generation.model_id)
            _read_items(catalog, gallery, found)
            _check_rows(layout, catalog, generation, gallery, found)
            _check_files(layout, catalog, generation, found)
        _check_database(layout.catalog, found)
        with Searcher(folder) as searcher:
            _check_searches(searcher, gallery, found)
    except Exception as error:  # whatever it is, an index that can not be read is what is looked for
        found.findings.append(f"can not be read: {type(error).__name__}: {error}")
    return found


def _read_items(catalog: Catalog, gallery: Gallery, found: Observation) -> None:
    pictures = {record.item_id: record for record in catalog.all_pictures()}
    if len(pictures) != len(catalog.all_pictures()):
        found.findings.append("an item has two pictures")
    for item in catalog.list_items(0, 10_000):
        if item.id not in pictures:
            found.findings.append(f"{item.key}: no picture")
            continue
        record = pictures[item.id]
        content = gallery.number_of(record.content_hash)
        found.items[item.key] = Seen(item.id, item.label, item.metadata.get("note"), content, item.version, record.path)


def _check_rows(layout: Layout, catalog: Catalog, generation: Generation, gallery: Gallery, found: Observation) -> None:
    """Every live picture has a row, of its picture and no other, and its CRC is right; rows of older generations, too.

    A row of a generation that is not active counts as well: a rollback answers from it.
    """
    records = {record.id: record for record in catalog.all_pictures()}
    for one in (*catalog.generations(), *catalog.drafts()):
        ids, crcs = catalog.vector_crcs(one)
        if one.id == generation.id and set(ids.tolist()) != set(records):
            found.findings.append(f"rows too many or too few: {sorted(set(ids.tolist()) ^ set(records))[:5]}")
        if not len(ids):
            continue
        rows = VectorMap(layout.vectors(one.name), one.embedding_size).read(ids)
        vectors = gallery.vectors[gallery.model_of(one.model_id)]
        for id_, row, crc in zip(ids.tolist(), rows, crcs.tolist(), strict=True):
            number = gallery.number_of(records[id_].content_hash) if id_ in records else None
            expected = None if number is None else vectors[number]
            found.findings += [f"{one.name}, picture {id_}: {fault}" for fault in _judge_row(row, crc, expected)]


def _judge_row(row: Vectors, crc: int, expected: Vectors | None) -> list[str]:
    faults = []
    if not row.any():
        faults.append("a zeroed row")
    if row_crc(row) != crc:
        faults.append("a wrong CRC")
    if expected is None:
        faults.append("a row of no known picture")
    elif float(row @ expected) < 1 - _ROUNDING:
        faults.append("another picture's row")
    return faults


def _check_files(layout: Layout, catalog: Catalog, generation: Generation, found: Observation) -> None:
    """The active generation's bundle, the pictures in originals/, and every thumbnail."""
    manifest = json.loads((layout.generation(generation.name) / "manifest.json").read_bytes())
    if not manifest["model"] == generation.model_id == read_bundle(layout.model(generation.name)).manifest.model_id:
        found.findings.append(f"{generation.name}: another model's")
    for record in catalog.all_pictures():
        if record.path is not None:
            continue
        path = layout.original(record.content_hash)
        if not path.is_file() or hash_content(path.read_bytes()) != record.content_hash:
            found.findings.append(f"{record.key}: its original is {'damaged' if path.is_file() else 'missing'}")
            continue
        if read_thumbnail(layout, record, ImageLimits()).data != _draw_thumbnail(path.read_bytes()):
            found.findings.append(f"{record.key}: a damaged thumbnail is served")


def _draw_thumbnail(data: bytes) -> bytes:
    return draw_thumbnail(decode(data, ImageLimits(), reduce_to=2 * SIDE))


def _check_database(path: Path, found: Observation) -> None:
    db = sqlite3.connect(path)
    try:
        answer = [row[0] for row in db.execute("PRAGMA integrity_check")]
        broken = db.execute("PRAGMA foreign_key_check").fetchall()
    finally:
        db.close()
    if answer != ["ok"] or broken:
        found.findings.append(f"integrity_check: {answer[:3]} {broken[:3]}")


def _check_searches(searcher: Searcher, gallery: Gallery, found: Observation) -> None:
    """A search for everything gives everything, and a few items find themselves and the right neighbours."""
    if not found.items or found.model is None:
        return
    vectors = gallery.vectors[found.model]
    model = gallery.bundles[found.model].manifest.model_id
    contents = {seen.id: seen.content for seen in found.items.values() if seen.content is not None}
    for id_ in _choose_probes(contents):
        query = vectors[contents[id_]]
        exact = {one: float(vectors[content] @ query) for one, content in contents.items()}
        for k in (MAX_K, 5):
            result = searcher.search(query, k, model=model)
            found.findings += [f"search for item {id_}, k {k}: {fault}" for fault in judge_answer(result, exact, k)]
        if not found.findings and len(contents) > 1:
            nearest = searcher.search_item(id_, 1).matches[0]
            if nearest.score < max(score for one, score in exact.items() if one != id_) - _ROUNDING:
                found.findings.append(f"item {id_}: its nearest is another")


def _choose_probes(contents: dict[int, int]) -> list[int]:
    """Some items evenly spread, and some that have copies."""
    ids, counts = sorted(contents), Counter(contents.values())
    copied = [id_ for id_ in ids if counts[contents[id_]] > 1]
    return sorted({*ids[:: max(1, len(ids) // _PROBES)], *copied[:: max(1, len(copied) // _PROBES)]})


def judge_answer(result: SearchResult, exact: dict[int, float], k: int) -> list[str]:
    """What is wrong with an answer, given every item's right score; `exact` holds a score of 1."""
    ids = [match.item.id for match in result.matches]
    scores = np.array([match.score for match in result.matches])
    faults = []
    if len(set(ids)) != len(ids):
        faults.append("a duplicate")
    if set(ids) - set(exact):
        faults.append(f"phantoms {sorted(set(ids) - set(exact))[:5]}")
        return faults
    if len(ids) != min(k, len(exact)):
        faults.append(f"{len(ids)} of {min(k, len(exact))} results")
    if ids and np.abs(scores - [exact[id_] for id_ in ids]).max() > _ROUNDING:
        faults.append("a wrong score")
    best = np.sort(list(exact.values()))[::-1][: len(ids)]
    if ids and np.abs(scores - best).max() > _ROUNDING:
        faults.append("not the nearest")
    if ids != [id_ for _, id_ in sorted(zip((-scores).tolist(), ids, strict=True))]:
        faults.append("not in order")
    return faults
