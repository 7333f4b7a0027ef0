"""A source's pictures lie elsewhere now: the index is told where, so that it finds their originals again.

Paths in the catalogue are relative to their source's root, so only the root changes; nothing is encoded. What may
change here: how many pictures are looked for. Not: that a folder without any of them is refused.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from index.catalog import SourceState
from index.catalog_writer import CatalogWriter
from index.errors import SourceError, UsageError

_LOOKED_FOR = 50  # pictures


def relocate_source(catalog: CatalogWriter, root: Path) -> None:
    """The pictures of the index's one source lie below `root` now.

    Raises UsageError where there is not exactly one source, SourceError where none of its pictures is found there.
    """
    source, root = _only_source(catalog), root.absolute()
    with catalog.writing():
        paths = [item.path for item in islice(catalog.items_of_source(source.id).values(), _LOOKED_FOR) if item.path]
        if paths and not any((root / path).is_file() for path in paths):
            raise SourceError(
                "holds none of the source's pictures",
                where=root,
                expected=f"for instance {paths[0]}",
                found="a folder without them" if root.is_dir() else "no such folder",
                remedy="check --images-root",
            )
        catalog.move_source(source.name, str(root))


def _only_source(catalog: CatalogWriter) -> SourceState:
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
