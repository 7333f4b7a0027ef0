"""A small index with something of everything: a source, an addition, a removal, an update, a snapshot and a delta.

What may change here: nothing, once `tests/formats/v1` was made with it. The pictures are the same on every run.
"""

from __future__ import annotations

from pathlib import Path

from index.additions import IndexEditor, ItemPatch
from index.builder import BuildPlan, build_index
from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.encoder import Encoder
from index.layout import Layout
from index.searcher import Searcher, search_picture
from index.sources import SourcePicture, read_source
from tests.drawn_pictures import draw_picture, write_drawn_pictures

Answer = list[tuple[int, str, float]]  # id, key and score, best first
QUESTIONS = ("red", "green", "blue", "yellow", "white")


def make_small_index(folder: Path, bundle: Bundle, source: Path) -> Layout:
    """Six pictures from `source`, which is made; then one item removed, one updated, one added, none of it sealed."""
    write_drawn_pictures(source, ("red", "green", "blue"), per_label=2)
    build_index(read_source(source), bundle, folder, BuildPlan(threads=1))
    layout = Layout(folder)
    with CatalogWriter(layout.catalog) as catalog:
        editor = IndexEditor(layout, catalog, threads=1)
        editor.remove(["green/green-1.jpg"])
        editor.update("blue/blue-1.jpg", ItemPatch(draw_picture("yellow"), "yellow", {"turned": True}))
        editor.add_bytes(SourcePicture("white", "white", Path("none"), {"from": "elsewhere"}), draw_picture("white"))
    return layout


def ask(layout: Layout) -> dict[str, Answer]:
    """What an index answers to one drawn picture of each colour."""
    with Searcher(layout.folder) as searcher:
        encoder = Encoder(searcher.read_bundle())
        found = {colour: search_picture(searcher, encoder, draw_picture(colour, 9), 10) for colour in QUESTIONS}
    return {
        colour: [(match.item.id, match.item.key, match.score) for match in result.matches]
        for colour, result in found.items()
    }
