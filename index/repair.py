"""Heals what is derived: snapshots, rows, thumbnails, CURRENT, manifests, the catalogue's indexes, the reserve.

Each is made again from what it was derived from, after checking that this is what it was. Nothing else is touched.
What may change here: more cures. Not: that an answer never comes from something that could not be checked.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from index.adoption import finish_adoption
from index.bundle import read_bundle
from index.catalog import Generation, PictureRecord, Snapshot
from index.catalog_inspector import CatalogInspector
from index.catalog_writer import CatalogWriter
from index.creation import write_description
from index.encoder import Encoder, verify_golden
from index.findings import Cure, Finding
from index.holding import keeping_files
from index.images import ImageLimits
from index.layout import Layout, write_whole
from index.log_check import heal_log
from index.originals import read_original, read_thumbnail
from index.reserve import RESERVE, keep_reserve, require_room
from index.snapshot import find_damaged_pictures, open_snapshot, seal_snapshot
from index.verification import describe_log, find_faults
from index.writer import IndexWriter

_log = logging.getLogger(__name__)


def repair_index(layout: Layout, limits: ImageLimits | None = None) -> list[Finding]:
    """Verify an index and heal what can be; what was found, with what became of it. Raises IndexDataError where the
    catalogue can not be opened.
    """
    wrong = heal_log(layout.catalog)
    log = [describe_log(layout, one, healed=one.right is not None) for one in wrong]
    if any(one.remains for one in log):
        return log
    with CatalogInspector(layout.catalog, repair=True) as catalog, keeping_files(layout):
        found = find_faults(layout, catalog)
        healer = _Healer(layout, catalog, limits or ImageLimits())
        healed = {one: healer.heal(one) for cure in Cure for one in found if one.cure is cure}
        healer.show_mended_rows()
    return log + [healed.get(one, one) for one in found]


def heal_snapshot(layout: Layout, catalog: CatalogWriter) -> bool:
    """Seal the active generation's snapshot again where it is missing or not the one that was sealed; whether it was.

    Searches are exact meanwhile. Nothing is encoded. Rows that are not what was written end it, with a line in the
    log. Raises IndexFullError.
    """
    with catalog.reading():
        generation = catalog.active_generation()
        snapshot = catalog.snapshot(generation)
    if snapshot is None or open_snapshot(layout, generation, snapshot, must_exist=False) is not None:
        return False
    require_room(layout.folder)
    if not _seal_again(layout, catalog, generation, snapshot):
        _log.error("%s: rows are not what was written: run `crossmatch index verify --repair`", layout.folder)
        return False
    _log.warning("%s: the snapshot was sealed again from vectors.f32", layout.generation(generation.name))
    return True


def _seal_again(layout: Layout, catalog: CatalogWriter, generation: Generation, snapshot: Snapshot | None) -> bool:
    """Replace a snapshot, unless another process has done so meanwhile; False where rows are damaged."""
    if len(find_damaged_pictures(layout, catalog, generation)):
        return False
    with catalog.writing():
        if catalog.snapshot(generation) == snapshot:
            catalog.delete_snapshot(generation)
    sealed = seal_snapshot(layout, catalog, generation)
    old, new = ({one.file, one.entries_file} if one else set() for one in (snapshot, sealed))
    for name in old - new:
        (layout.generation(generation.name) / name).unlink(missing_ok=True)  # who has it mapped keeps it
    return True


class _Healer:
    """The cures, over one index."""

    def __init__(self, layout: Layout, catalog: CatalogInspector, limits: ImageLimits) -> None:
        self._layout, self._catalog, self._limits = layout, catalog, limits
        self._encoders: dict[int, Encoder] = {}
        self._reindexed: bool | None = None
        self._sealed: dict[int, bool] = {}
        self._mended: set[Generation] = set()

    def heal(self, finding: Finding) -> Finding:
        """The finding, healed, or with why it was not."""
        try:
            return replace(finding, healed=self._cure(finding))
        except Exception as error:  # a damaged catalogue gives values of any kind, and they any error
            return replace(finding, what=f"{finding.what}; not healed: {error}")

    def _cure(self, finding: Finding) -> bool:
        match finding.cure:
            case Cure.INDEXES:
                return self._rebuild_indexes()
            case Cure.CURRENT | Cure.RESERVE | None:
                return self._put_back(finding.cure)
            case Cure.THUMBNAIL:
                return self._draw_thumbnail(self._catalog.picture(finding.picture))
        generation = next(one for one in self._catalog.generations() if one.id == finding.generation)
        return self._cure_generation(generation, finding)

    def _cure_generation(self, generation: Generation, finding: Finding) -> bool:
        match finding.cure:
            case Cure.MANIFEST:
                return self._write_manifest(generation)
            case Cure.ADOPTION:
                return finish_adoption(self._layout, generation)
            case Cure.ROW:
                return self._encode_row(generation, self._catalog.picture(finding.picture))
        return self._seal(generation)

    def _put_back(self, cure: Cure | None) -> bool:
        if cure is Cure.CURRENT:
            write_whole(self._layout.current, f"{self._catalog.active_generation().name}\n".encode())
            return True
        if cure is Cure.RESERVE:
            (self._layout.folder / RESERVE).unlink(missing_ok=True)
            return keep_reserve(self._layout.folder)
        return False

    def _rebuild_indexes(self) -> bool:
        if self._reindexed is None:
            self._reindexed = self._catalog.rebuild_indexes()
        return self._reindexed

    def _draw_thumbnail(self, record: PictureRecord) -> bool:
        path = self._layout.thumbnail(record.content_hash)
        path.unlink(missing_ok=True)
        read_thumbnail(self._layout, record, self._limits)
        return path.is_file()

    def show_mended_rows(self) -> None:
        """Processes that serve the index may have copies of the damaged rows: a new snapshot makes them load anew."""
        for generation in self._mended:
            self._seal(generation)

    def _write_manifest(self, generation: Generation) -> bool:
        bundle = read_bundle(self._layout.model(generation.name))
        write_description(self._layout.generation(generation.name) / "manifest.json", bundle)
        return True

    def _encode_row(self, generation: Generation, record: PictureRecord) -> bool:
        original = read_original(self._layout, record, self._limits)  # checked: the content that was indexed
        vector = self._encoder(generation).encode_bytes(original.data)
        with IndexWriter(self._layout, self._catalog) as writer:
            writer.put_rows(generation, [record.id], vector[None])
        self._mended.add(generation)
        return True

    def _encoder(self, generation: Generation) -> Encoder:
        if generation.id not in self._encoders:
            encoder = Encoder(read_bundle(self._layout.model(generation.name)), self._limits)
            verify_golden(encoder)
            self._encoders[generation.id] = encoder
        return self._encoders[generation.id]

    def _seal(self, generation: Generation) -> bool:
        if generation.id not in self._sealed:
            snapshot = self._catalog.snapshot(generation)
            self._sealed[generation.id] = _seal_again(self._layout, self._catalog, generation, snapshot)
        return self._sealed[generation.id]
