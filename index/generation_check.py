"""One generation against itself and the catalogue: its bundle, its manifest, its rows and its snapshot.

What may change here: more checks. Not: that what is derived is never trusted over what it is derived from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np

from index.adoption import ADOPTING, is_adopted
from index.bundle import Bundle, read_bundle
from index.catalog import Generation, Snapshot
from index.catalog_inspector import CatalogInspector
from index.copies import Entries
from index.creation import describe_generation
from index.encoder import Encoder, verify_golden
from index.errors import CrossmatchError
from index.findings import Cure, Finding, fault, note
from index.layout import Layout
from index.manifest import file_digest
from index.types import Ids
from index.vectors import VectorMap, find_damaged

_BLOCK = 16_384  # rows read at a time
_EXACT = ("flat", "hnsw")  # recipes that keep vectors as they are
_NEARLY = 4  # characters of a digest: more than one changed byte alters, fewer than another file's digest differs in


def check_generation(
    layout: Layout, catalog: CatalogInspector, generation: Generation, keys: dict[int, str]
) -> Iterator[Finding]:
    """Everything that is wrong with a generation; `keys`: the items' keys by the pictures' ids."""
    yield from _check_model(layout, generation)
    damaged = list(_check_rows(layout, catalog, generation, keys))
    yield from damaged
    snapshot = catalog.snapshot(generation)
    if snapshot is not None:
        yield from _check_snapshot(layout, catalog, generation, snapshot, trust_rows=not damaged)


def _check_model(layout: Layout, generation: Generation) -> Iterator[Finding]:
    try:
        bundle = read_bundle(layout.model(generation.name))
        if bundle.manifest.model_id != generation.model_id:
            yield fault(f"the bundle is not model {generation.model_id[:12]}...", bundle.folder)
        verify_golden(Encoder(bundle))
    except CrossmatchError as error:
        yield fault(error.what, error.where or layout.model(generation.name))
        return
    yield from _check_manifest(layout.generation(generation.name) / "manifest.json", bundle, generation)


def _check_manifest(path: Path, bundle: Bundle, generation: Generation) -> Iterator[Finding]:
    if (bundle.folder / ADOPTING).exists():
        what = "a newer manifest of the bundle was being taken over"
        yield note(what, bundle.folder / ADOPTING, Cure.ADOPTION, generation.id)
        if is_adopted(bundle.folder):
            return  # the generation's own has the old digest, or the new one
    expected = describe_generation(bundle)
    try:
        found = path.read_bytes()
    except OSError:
        yield fault("the generation's manifest is missing", path, Cure.MANIFEST, generation.id)
        return
    if found == expected:
        return
    if _names_other_bundle(found, expected):
        yield fault("the bundle's manifest is not the one that the generation names", bundle.folder / "manifest.json")
    else:
        yield fault("the manifest does not describe the generation", path, Cure.MANIFEST, generation.id)


def _names_other_bundle(found: bytes, expected: bytes) -> bool:
    """Whether a manifest is whole and the digest in it another file's, not the same one with a changed byte."""
    try:
        fields, right = json.loads(found), json.loads(expected)
        digest, other = str(fields.pop("bundle")), str(right.pop("bundle"))
    except (ValueError, KeyError, AttributeError):
        return False
    return fields == right and sum(a != b for a, b in zip(digest, other, strict=False)) > _NEARLY


def _check_rows(
    layout: Layout, catalog: CatalogInspector, generation: Generation, keys: dict[int, str]
) -> Iterator[Finding]:
    path, size = layout.vectors(generation.name), 4 * generation.embedding_size
    pictures, crcs = catalog.vector_crcs(generation)
    try:
        length = path.stat().st_size
    except OSError:
        length = 0
    there = pictures < length // size
    damaged = pictures[~there].tolist()
    if there.any():
        rows = VectorMap(path, generation.embedding_size)
        inside, crcs = pictures[there], crcs[there]
        for start in range(0, len(inside), _BLOCK):
            block = slice(start, start + _BLOCK)
            damaged += inside[block][find_damaged(rows.read(inside[block]), crcs[block])].tolist()
    for picture in damaged:
        what = f"the row of {keys.get(picture, '?')} is not what was written (picture {picture})"
        yield fault(what, path, Cure.ROW, generation.id, picture)
    if generation.id == catalog.active_generation().id:
        for picture in sorted(keys.keys() - set(pictures.tolist())):
            yield fault(
                f"there is no row of {keys[picture]} (picture {picture})", path, Cure.ROW, generation.id, picture
            )
    if length > size * (catalog.highest_picture_ever() + 1):
        yield note("rows beyond the catalogue, of a write that was interrupted", path)


def _check_snapshot(
    layout: Layout, catalog: CatalogInspector, generation: Generation, snapshot: Snapshot, *, trust_rows: bool
) -> Iterator[Finding]:
    folder = layout.generation(generation.name)
    files = ((snapshot.file, snapshot.digest), (snapshot.entries_file, snapshot.entries_digest))
    whole = True
    for name, digest in files:
        what = _compare_digest(folder / name, digest)
        if what:
            whole = False
            yield fault(what, folder / name, Cure.SNAPSHOT, generation.id)
    if not whole:
        return
    try:
        entries = Entries.from_array(np.fromfile(folder / snapshot.entries_file, dtype="<i8"))
        index = faiss.read_index(str(folder / snapshot.file), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, ValueError, OSError) as error:
        yield fault(f"the snapshot can not be read: {error}", folder / snapshot.file, Cure.SNAPSHOT, generation.id)
        return
    for what in _compare_content(catalog, generation, snapshot, entries, index):
        yield fault(what, folder / snapshot.file, Cure.SNAPSHOT, generation.id)
        return
    rows, living = VectorMap(layout.vectors(generation.name), index.d), catalog.vector_ids(generation)
    if trust_rows and not _holds_rows(rows, living, generation, entries, index):
        what = "the snapshot's vectors are not the rows"
        yield fault(what, folder / snapshot.file, Cure.SNAPSHOT, generation.id)


def _compare_digest(path: Path, digest: str) -> str | None:
    """What is wrong with a file, or None."""
    try:
        return None if file_digest(path) == digest else "the file is not the one that was sealed"
    except OSError as error:
        return f"the file is missing or unreadable: {error.strerror}"


def _compare_content(
    catalog: CatalogInspector, generation: Generation, snapshot: Snapshot, entries: Entries, index: faiss.Index
) -> Iterator[str]:
    if (len(entries), len(entries.pictures)) != (snapshot.entries, snapshot.pictures) or index.ntotal != len(entries):
        yield "the snapshot, its entries and the catalogue differ in number"
    changes = catalog.changes_after(snapshot.change_number)
    living = catalog.vector_ids(generation)
    expected = np.union1d(np.setdiff1d(living, changes.added), changes.removed)
    if not np.array_equal(expected, entries.sorted_pictures):
        yield f"the snapshot does not hold exactly what lived at change {snapshot.change_number}"


def _holds_rows(rows: VectorMap, living: Ids, generation: Generation, entries: Entries, index: faiss.Index) -> bool:
    """Whether the `living` pictures (n,) of each entry have one row, and it is the snapshot's vector.

    What was removed since may be a hole: in a restored index, for one.
    """
    for start in range(0, len(entries), _BLOCK):
        block: Ids = np.arange(start, min(start + _BLOCK, len(entries)))
        pictures, owners = entries.expand(block), np.repeat(block, np.diff(entries.offsets)[block])
        alive = np.isin(pictures, living)
        found = rows.read(pictures[alive])
        owning, first, place = np.unique(owners[alive], return_index=True, return_inverse=True)
        if not np.array_equal(found, found[first][place]):
            return False
        if generation.recipe in _EXACT and not np.array_equal(
            index.reconstruct_n(start, len(block))[owning - start], found[first]
        ):
            return False
    return True
