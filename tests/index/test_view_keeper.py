"""Seals, swaps and restores beside searches: none answers wrongly, and a seal makes none wait."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index import generations, view_keeper
from index.announcement import announcing
from index.builder import BuildPlan, build_index
from index.bundle import Bundle
from index.catalog import Catalog, Generation, Snapshot
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.errors import ItemNotFoundError
from index.generations import EncodingPlan, roll_back
from index.layout import Layout
from index.searcher import Searcher
from index.snapshot import SealedIndex
from index.sources import read_source
from index.types import Vectors
from tests.indexed_pictures import build
from tests.tiny_model import write_tiny_bundle
from tests.vector_gallery import (
    Answers,
    add_rows,
    answers,
    draw_rows,
    expect,
    make_index,
    number_rows,
    remove_items,
    seal,
)

ROWS = draw_rows(80)
QUERY = draw_rows(1, seed=9)[0]


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """40 items, sealed."""
    layout = make_index(tmp_path / "index", tiny_bundle)
    add_rows(layout, ROWS[:40])
    seal(layout)
    return layout


@pytest.fixture
def searcher(layout: Layout) -> Iterator[Searcher]:
    with Searcher(layout.folder) as searcher:
        yield searcher


class Opening:
    """Which threads open snapshots; `gate`: they wait for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.threads = threading.Event(), list[str]()
        self.began = threading.Event()
        opener = view_keeper.open_snapshot

        def open_snapshot(
            layout: Layout, generation: Generation, snapshot: Snapshot, *, must_exist: bool
        ) -> SealedIndex | None:
            self.threads.append(threading.current_thread().name)
            self.began.set()
            assert self.gate.wait(10)
            return opener(layout, generation, snapshot, must_exist=must_exist)

        monkeypatch.setattr(view_keeper, "open_snapshot", open_snapshot)


@pytest.fixture
def opening(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> Opening:
    """From after the first opening on."""
    return Opening(monkeypatch)


def ask(searcher: Searcher, k: int = 100) -> Answers:
    return answers(searcher.search(QUERY, k, model=searcher.generation.model_id))


def living(*gone: int, upto: int) -> dict[int, Vectors]:
    return {item: row for item, row in number_rows(ROWS[:upto]).items() if item not in gone}


def test_searches_go_on_while_a_newer_snapshot_is_checked(layout: Layout, searcher: Searcher, opening: Opening) -> None:
    add_rows(layout, ROWS[40:60], "more")
    remove_items(layout, [3, 50])
    seal(layout)
    assert ask(searcher) == expect(living(3, 50, upto=60), QUERY, 100)
    assert opening.began.wait(10)
    remove_items(layout, [4, 51])
    assert ask(searcher) == expect(living(3, 4, 50, 51, upto=60), QUERY, 100)
    add_rows(layout, ROWS[60:], "last")
    seal(layout)  # once more, before the first was opened
    assert ask(searcher) == expect(living(3, 4, 50, 51, upto=80), QUERY, 100)
    opening.gate.set()
    snapshot = searcher.snapshot()
    assert snapshot is not None
    assert snapshot.pictures == 76
    assert searcher.unsealed() == (0, 0)
    assert ask(searcher) == expect(living(3, 4, 50, 51, upto=80), QUERY, 100)
    assert set(opening.threads) == {"snapshot"}


def test_a_compaction_makes_no_search_wait(layout: Layout, searcher: Searcher, opening: Opening) -> None:
    """It trims the log, too: not what a reader needs that knows the last snapshot."""
    add_rows(layout, ROWS[40:60], "more")
    remove_items(layout, [3])
    with CatalogWriter(layout.catalog) as catalog:
        compact_index(layout, catalog)
    assert ask(searcher) == expect(living(3, upto=60), QUERY, 100)
    opening.gate.set()
    assert searcher.unsealed() == (0, 0)
    assert set(opening.threads) == {"snapshot"}


def test_a_snapshot_that_vanishes_while_it_is_awaited(layout: Layout, searcher: Searcher, opening: Opening) -> None:
    add_rows(layout, ROWS[40:60], "more")
    snapshot = seal(layout)
    assert snapshot is not None
    ask(searcher)
    assert opening.began.wait(10)
    for path in layout.folder.glob(f"generations/*/{snapshot.file}"):
        path.unlink()
    opening.gate.set()
    assert searcher.distrusts_snapshot()
    assert ask(searcher) == expect(living(upto=60), QUERY, 100)


def test_the_snapshot_of_what_is_swapped_to_is_checked_before(
    tmp_path: Path, tiny_bundle: Bundle, better: Bundle, own_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a search comes between the draft's seal and the swap, none after it has to wait."""
    build(own_pictures, tiny_bundle, tmp_path / "index")
    check = generations.check_rows
    with Searcher(tmp_path / "index") as searcher:
        opening = Opening(monkeypatch)
        opening.gate.set()

        def look_first(layout: Layout, catalog: CatalogWriter, generation: Generation) -> None:
            searcher.snapshot()
            check(layout, catalog, generation)

        monkeypatch.setattr(generations, "check_rows", look_first)
        build(own_pictures, better, tmp_path / "index")
        assert searcher.info().model == better.manifest.model_id
        snapshot = searcher.snapshot()
    assert snapshot is not None
    assert opening.threads == ["snapshot"]


def test_reads_see_the_index_that_lies_at_the_path_now(
    tmp_path: Path, layout: Layout, searcher: Searcher, tiny_bundle: Bundle
) -> None:
    other = make_index(tmp_path / "other", tiny_bundle)
    add_rows(other, ROWS[:2], "other")
    with CatalogWriter(other.catalog) as catalog, catalog.writing():
        catalog.put_source("source", "/root", 2)
    layout.folder.rename(tmp_path / "away")
    shutil.copytree(other.folder, layout.folder)
    assert searcher.item(1).key == "other-0"
    assert searcher.picture(2).key == "other-1"
    with pytest.raises(ItemNotFoundError):
        searcher.item(3)
    (tmp_path / "away").rename(tmp_path / "further")
    shutil.rmtree(layout.folder)
    (tmp_path / "further").rename(layout.folder)
    assert searcher.find_item("other-0") is None
    layout.folder.rename(tmp_path / "away")
    shutil.copytree(other.folder, layout.folder)
    assert [item.key for item in searcher.list_items(0, 100)] == ["other-0", "other-1"]
    assert [item.key for item in searcher.sample_items(100)] == ["other-0", "other-1"]
    assert [source.name for source in searcher.sources()] == ["source"]
    with Catalog(layout.catalog) as catalog:
        assert catalog.count_items() == 2


def test_the_snapshot_of_an_announced_generation_is_mapped_before_the_swap(
    drawn_pictures: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "index")
    for seed in (None, 1):
        bundle = tiny_bundle if seed is None else write_tiny_bundle(tmp_path / "other", seed)
        build_index(read_source(drawn_pictures), bundle, layout.folder, BuildPlan(1))
    opened: list[str] = []
    original = view_keeper.open_snapshot

    def note(layout: Layout, generation: Generation, *rest: Any, **options: Any) -> SealedIndex | None:
        opened.append(generation.name)
        return original(layout, generation, *rest, **options)

    monkeypatch.setattr(view_keeper, "open_snapshot", note)
    with Searcher(layout.folder) as searcher, CatalogWriter(layout.catalog) as catalog:
        active, other = catalog.generations()
        assert opened == [active.name]
        with announcing(layout, other.name):
            searcher.prepare(other.name)
            assert opened == [active.name, other.name]
            roll_back(layout, catalog, None, EncodingPlan(1))
            assert searcher.generation.name == other.name
            assert not searcher.distrusts_snapshot()
        assert opened == [active.name, other.name]
