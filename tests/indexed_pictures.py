"""Real pictures in a real index, and what such an index holds and answers: what tests of writes compare.

What may change here: what is compared. Everything is compared by key, since ids hang on the order of writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from index.additions import IndexEditor
from index.builder import BuildPlan, BuildReport, build_index
from index.bundle import Bundle
from index.catalog import Catalog, Generation
from index.catalog_writer import CatalogWriter
from index.creation import building
from index.encoder import Encoder
from index.generations import EncodingPlan, SwapReport, roll_back
from index.layout import Layout
from index.searcher import Searcher, search_picture
from index.sources import read_source
from index.synchronise import SyncReport
from index.types import Item
from tests.drawn_pictures import COLOURS, draw_picture

OnProgress = Callable[[int, int], None]
Answers = dict[str, list[tuple[float, str]]]  # colour asked for -> (score, key), best first
ALL = 1000


class Encodes:
    """Counts what encoders do, golden pictures included; the fixture `encodes` has it count."""

    def __init__(self) -> None:
        self.count = 0

    def take(self) -> int:
        """How many there were since it was last asked."""
        taken, self.count = self.count, 0
        return taken


def build(
    source: Path, bundle: Bundle, folder: Path, *, on_progress: OnProgress | None = None, **plan: object
) -> BuildReport:
    """`build_index` on one thread, with some fields of the plan."""
    return build_index(read_source(source), bundle, folder, BuildPlan(**{"threads": 1, **plan}), on_progress)  # type: ignore[arg-type]


def synchronise(source: Path, bundle: Bundle, folder: Path, **plan: object) -> SyncReport:
    """`build_index` that brings an index into step with a source: what it did."""
    report = build(source, bundle, folder, **{"update": True, **plan}).synchronised  # type: ignore[arg-type]
    assert report is not None
    return report


@contextmanager
def editing(folder: Path) -> Iterator[IndexEditor]:
    """An editor of the index in a folder."""
    layout = Layout(folder)
    with CatalogWriter(layout.catalog) as catalog:
        yield IndexEditor(layout, catalog, threads=1)


def items_of(folder: Path) -> dict[str, Item]:
    """Key -> item."""
    with Searcher(folder) as searcher:
        return {item.key: item for item in searcher.iterate_items()}


def contents_of(folder: Path) -> dict[str, str]:
    """Key -> content hash."""
    with Catalog(Layout(folder).catalog) as catalog:
        return {record.key: record.content_hash for record in catalog.all_pictures()}


def fields_of(folder: Path) -> dict[str, tuple[str | None, dict[str, object], str]]:
    """Key -> label, metadata and content hash."""
    contents = contents_of(folder)
    return {key: (item.label, item.metadata, contents[key]) for key, item in items_of(folder).items()}


def answers_of(folder: Path) -> Answers:
    """What the index answers to a picture of each colour that it does not hold: every item, with its score."""
    with Searcher(folder) as searcher:
        encoder = Encoder(searcher.read_bundle())
        found = {colour: search_picture(searcher, encoder, draw_picture(colour, 99), ALL) for colour in COLOURS}
        assert all(len(result.matches) == result.index.size for result in found.values())
    return {
        colour: sorted(((match.score, match.item.key) for match in result.matches), reverse=True)
        for colour, result in found.items()
    }


def check_in_step(folder: Path, source: Path, bundle: Bundle, fresh: Path) -> None:
    """The index holds and answers what a build of the source into `fresh` does."""
    build(source, bundle, fresh)
    assert fields_of(folder) == fields_of(fresh)
    assert answers_of(folder) == answers_of(fresh)


def swap(source: Path, bundle: Bundle, folder: Path, **plan: object) -> SwapReport:
    """`index build` with another model: what it did."""
    report = build(source, bundle, folder, **plan).swapped  # type: ignore[arg-type]
    assert report is not None
    return report


def go_back(folder: Path, name: str | None = None, *, drop_missing: bool = False) -> SwapReport:
    """`index rollback`: what it did."""
    layout = Layout(folder)
    with CatalogWriter(layout.catalog) as catalog, building(layout):
        return roll_back(layout, catalog, name, EncodingPlan(1, drop_missing=drop_missing))


def generations_of(folder: Path) -> list[Generation]:
    """Those that were once active, the one that answers first."""
    with Catalog(Layout(folder).catalog) as catalog:
        return catalog.generations()
