"""A source's pictures lie elsewhere now: where their originals are read from, and, once that has worked, recorded.

Paths in the catalogue are relative to their source's root, so only the root changes; nothing is encoded. What may
change here: how many pictures are looked for. Not: that a folder without any of them is refused, nor that a root which
did not serve is never recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from index.catalog import Catalog, PictureRecord, SourceState
from index.catalog_writer import CatalogWriter
from index.errors import SourceError, UsageError

_LOOKED_FOR = 50  # pictures


@dataclass(frozen=True)
class Relocation:
    """Where the pictures of a source lie now."""

    source: SourceState
    root: Path

    def apply(self, records: Sequence[PictureRecord]) -> list[PictureRecord]:
        """The same pictures, where they lie now."""
        return [replace(one, root=str(self.root)) if one.source_id == self.source.id else one for one in records]

    def record(self, catalog: CatalogWriter) -> None:
        """Inside a transaction: from now on they lie there."""
        catalog.move_source(self.source.name, str(self.root))


def relocate(catalog: Catalog, source: SourceState, root: Path) -> Relocation:
    """The pictures of a source lie below `root` now. Raises SourceError where none of them is found there."""
    root = root.absolute()
    with catalog.reading():
        paths = [item.path for item in islice(catalog.items_of_source(source.id).values(), _LOOKED_FOR) if item.path]
    if paths and not any((root / path).is_file() for path in paths):
        raise SourceError(
            "holds none of the source's pictures",
            where=root,
            expected=f"for instance {paths[0]}",
            found="a folder without them" if root.is_dir() else "no such folder",
            remedy="check --images-root",
        )
    return Relocation(source, root)


def find_only_source(catalog: Catalog) -> SourceState:
    """The index's one source. Raises UsageError where there is not exactly one."""
    sources = catalog.sources()
    if len(sources) != 1:
        raise UsageError(
            "--images-root is for the pictures of one source",
            where=catalog.path.parent,
            expected="an index of one source",
            found=", ".join(source.name for source in sources) or "an index without sources",
            remedy="say `index build SOURCE --update --images-root DIR` for each",
        )
    return sources[0]
