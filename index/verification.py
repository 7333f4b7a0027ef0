"""`index verify`: every digest, the golden vectors, the catalogue against rows against snapshot, and all other files.

It reads only. What a killed write leaves behind is a note; what is wrong is a fault. What may change here: the list
of checks. Not: that a changed byte which any answer hangs on is found and named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from index.adoption import ADOPTING
from index.bundle import OPTIONAL, REQUIRED
from index.catalog import Generation, PictureRecord
from index.catalog_inspector import CatalogInspector
from index.errors import CrossmatchError
from index.findings import Cure, Finding, fault, note
from index.generation_check import check_generation
from index.holding import keeping_files
from index.layout import CATALOG, Layout
from index.log_check import WrongByte, check_log
from index.manifest import MANIFEST_NAME
from index.picture_check import check_pictures
from index.reserve import RESERVE, RESERVE_BYTES
from index.unwritable import log_of

_ATTEMPTS = 3  # while writers change files that are being looked at
_OURS = {
    *(CATALOG, f"{CATALOG}-wal", f"{CATALOG}-shm", "CURRENT", "NEXT", "build.lock", "seal.lock", "clear.lock", RESERVE),
    *("originals", "thumbnails", "generations", "keys.json", "keys.lock"),
}
_OF_A_BUNDLE = {MANIFEST_NAME, *REQUIRED, *OPTIONAL, ADOPTING}


def verify_index(layout: Layout) -> list[Finding]:
    """Everything in an index folder that is not as it should be; nothing is changed. Raises IndexDataError only
    where there is no index at all.
    """
    wrong = check_log(layout.catalog)
    if wrong is not None:  # to open the catalogue now could clear the log, and what is hidden in it
        return [describe_log(layout, wrong)]
    try:
        with CatalogInspector(layout.catalog) as catalog, keeping_files(layout):
            return find_faults(layout, catalog)
    except CrossmatchError as error:
        if not layout.is_index():
            raise
        return [fault(str(error), layout.catalog)]


def describe_log(layout: Layout, wrong: WrongByte, *, healed: bool = False) -> Finding:
    """A byte of the catalogue's log was changed."""
    what = f"a byte is not what was written and hides what was written after it (at {wrong.offset})"
    return replace(fault(what, log_of(layout.catalog)), healed=healed)


def find_faults(layout: Layout, catalog: CatalogInspector) -> list[Finding]:
    """What `verify_index` does, over a connection; looks again where a writer came in between."""
    for _ in range(_ATTEMPTS):
        before = _read_number(catalog)
        found = list(_look(layout, catalog))
        if not any(one.remains for one in found) or before == _read_number(catalog):
            break
    return found


def _read_number(catalog: CatalogInspector) -> int | None:
    try:
        with catalog.reading():
            return catalog.change_number()
    except (sqlite3.Error, UnicodeError):
        return None


def _look(layout: Layout, catalog: CatalogInspector) -> Iterator[Finding]:
    try:
        with catalog.reading():
            yield from catalog.inspect()
            records = catalog.all_pictures()
            generations = catalog.generations()
            found = [one for generation in generations for one in _check(layout, catalog, generation, records)]
            yield from found
            needed = {one.picture for one in found if one.cure is Cure.ROW}
            yield from check_pictures(layout, records, needed)
            yield from _check_current(layout, generations)
            yield from _find_leftovers(layout, catalog, records)
    except Exception as error:  # a damaged catalogue gives values of any kind, and they any error
        yield fault(f"the catalogue can not be read: {error}", layout.catalog)
    yield from _check_reserve(layout)


def _check(
    layout: Layout, catalog: CatalogInspector, generation: Generation, records: list[PictureRecord]
) -> Iterator[Finding]:
    keys = {record.id: record.key for record in records}
    try:
        yield from check_generation(layout, catalog, generation, keys)
    except Exception as error:  # a damaged catalogue gives values of any kind, and they any error
        yield fault(str(error), layout.generation(generation.name))


def _check_current(layout: Layout, generations: list[Generation]) -> Iterator[Finding]:
    if not generations:
        return
    names = [generation.name for generation in generations]  # the active one first
    try:
        said = layout.current.read_bytes()
    except OSError:
        said = b""
    if said != f"{names[0]}\n".encode():
        interrupted = said in [f"{name}\n".encode() for name in names]
        report = note if interrupted else fault
        yield report(f"CURRENT does not name the active generation, {names[0]}", layout.current, Cure.CURRENT)


def _check_reserve(layout: Layout) -> Iterator[Finding]:
    path = layout.folder / RESERVE
    try:
        data = path.read_bytes()
    except OSError:
        return  # all given up on a full disk
    if any(data) or len(data) > RESERVE_BYTES:
        yield fault("the reserve is not what was set aside", path, Cure.RESERVE)


def _find_leftovers(layout: Layout, catalog: CatalogInspector, records: list[PictureRecord]) -> Iterator[Finding]:
    drafts = catalog.drafts()
    for draft in drafts:
        yield note("a generation whose encoding was interrupted or goes on", layout.generation(draft.name))
    needed = {record.content_hash for record in records}
    for path in sorted(layout.folder.glob("originals/*/*")) + sorted(layout.folder.glob("thumbnails/*/*")):
        if path.name.removesuffix(".jpg") not in needed:
            yield note("no item needs this file", path)
    yield from _find_strangers(layout.folder, _OURS)
    generations = catalog.generations()
    yield from _find_strangers(layout.folder / "generations", {one.name for one in (*generations, *drafts)})
    for generation in generations:
        snapshot = catalog.snapshot(generation)
        ours = {"manifest.json", "model", "vectors.f32"}
        ours |= {snapshot.file, snapshot.entries_file} if snapshot else set()
        yield from _find_strangers(layout.generation(generation.name), ours)
        yield from _find_strangers(layout.model(generation.name), _OF_A_BUNDLE)


def _find_strangers(folder: Path, ours: Iterable[str]) -> Iterator[Finding]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name not in ours:
            yield note("left by an interrupted write, or not of the index", path)
