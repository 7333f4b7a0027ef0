"""Compaction: what is unsealed gets sealed, what lives no more gives its room back, and no answer changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from index import compaction
from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.compaction import CompactionReport, compact_index
from index.errors import UsageError
from index.holding import keeping_files
from index.layout import Layout
from index.searcher import Searcher
from index.sources import SourcePicture
from index.types import SearchResult, Vectors
from tests.drawn_pictures import draw_picture
from tests.indexed_pictures import answers_of, build, editing
from tests.tiny_model import write_tiny_bundle
from tests.vector_gallery import (
    add_rows,
    answers,
    draw_rows,
    expect,
    generation_of,
    make_index,
    number_rows,
    remove_items,
    replace_row,
    seal,
)

ROWS = draw_rows(400)
QUERIES = draw_rows(5, seed=9)


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """400 items, unsealed."""
    layout = make_index(tmp_path / "index", tiny_bundle)
    add_rows(layout, ROWS)
    return layout


def compact(layout: Layout, **options: object) -> CompactionReport:
    with CatalogWriter(layout.catalog) as catalog:
        return compact_index(layout, catalog, **options)  # type: ignore[arg-type]


def ask(layout: Layout, query: Vectors, k: int = 10) -> SearchResult:
    with Searcher(layout.folder) as searcher:
        return searcher.search(query, k, model=searcher.generation.model_id)


def read_rows(layout: Layout) -> Vectors:
    """Every row of the file, by picture id."""
    return np.fromfile(layout.vectors(generation_of(layout).name), dtype="<f4").reshape(-1, 16)


def age(path: Path, seconds: float = 7200) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def count_changes(layout: Layout) -> int:
    with CatalogWriter(layout.catalog) as catalog:
        changes = catalog.changes_after(0)
        return len(changes.added) + len(changes.removed)


class TestSealing:
    def test_a_snapshot_of_all_and_only_its_own_log(self, layout: Layout) -> None:
        report = compact(layout)
        assert (report.pictures, report.recall, report.cleared) == (400, 1.0, ())
        assert count_changes(layout) == 400  # readers that know the last snapshot follow these
        remove_items(layout, [1])
        compact(layout)
        assert count_changes(layout) == 1
        compact(layout)
        assert count_changes(layout) == 0
        with Searcher(layout.folder) as searcher:
            assert searcher.unsealed() == (0, 0)
        for query in QUERIES:
            assert answers(ask(layout, query)) == expect(number_rows(ROWS), query, 10)

    def test_an_empty_index(self, tmp_path: Path, tiny_bundle: Bundle) -> None:
        report = compact(make_index(tmp_path / "index", tiny_bundle))
        assert (report.pictures, report.recall) == (0, None)

    def test_twice_changes_nothing(self, layout: Layout) -> None:
        compact(layout)
        found = {path: path.stat().st_ino for path in layout.folder.rglob("*snapshot-*")}
        assert compact(layout).pictures == 400
        assert {path: path.stat().st_ino for path in layout.folder.rglob("*snapshot-*")} == found

    def test_a_reader_that_knows_less_than_the_log_loads_anew(self, layout: Layout) -> None:
        with Searcher(layout.folder) as searcher:
            model = searcher.generation.model_id
            remove_items(layout, [3, 4])
            compact(layout)
            add_rows(layout, draw_rows(2, seed=3), "late")
            living = {item: row for item, row in number_rows(ROWS).items() if item not in (3, 4)}
            living |= number_rows(draw_rows(2, seed=3), first=401)
            for query in QUERIES:
                assert answers(searcher.search(query, 402, model=model)) == expect(living, query, 402)

    def test_another_recipe_and_back(self, layout: Layout) -> None:
        before = [ask(layout, query) for query in QUERIES]
        compact(layout)
        report = compact(layout, recipe="hnsw")
        assert report.recall is not None
        assert report.recall > 0.99
        with Searcher(layout.folder) as searcher:
            snapshot = searcher.snapshot()
            assert (searcher.generation.recipe, snapshot and snapshot.recipe[:4]) == ("hnsw", "HNSW")
        add_rows(layout, draw_rows(1, seed=3), "late")
        remove_items(layout, [401])
        assert compact(layout).recall == report.recall  # the recipe stays
        compact(layout, recipe="flat")
        with Searcher(layout.folder) as searcher:
            assert searcher.generation.recipe == "flat"
        assert [ask(layout, query).matches for query in QUERIES] == [result.matches for result in before]

    def test_a_recipe_that_does_not_fit_leaves_the_one_there_was(self, layout: Layout) -> None:
        with pytest.raises(UsageError, match="does not fit"):
            compact(layout, recipe="IVF9999,Flat")
        assert generation_of(layout).recipe == "flat"
        assert compact(layout).pictures == 400

    def test_a_recipe_that_is_none(self, layout: Layout) -> None:
        with pytest.raises(UsageError):
            compact(layout, recipe="nonsense")
        assert generation_of(layout).recipe == "flat"


class TestHoles:
    def test_only_where_nothing_lives_and_not_at_once(self, layout: Layout) -> None:
        """A search that began before the removal may still read its rows until the next snapshot."""
        gone = [1, 2, 50, *range(100, 300), 400]
        seal(layout)
        remove_items(layout, gone)
        replace_row(layout, "item-59", draw_rows(1, seed=4)[0])  # item 60
        compact(layout)
        assert np.array_equal(read_rows(layout)[1:401], ROWS)
        compact(layout)
        rows, holes = read_rows(layout), ~read_rows(layout).any(axis=1)
        assert np.flatnonzero(holes).tolist() == [0, *sorted({*gone, 60})]
        living = {item: row for item, row in number_rows(ROWS).items() if item not in gone}
        living[60] = rows[401]
        for query in QUERIES:
            assert answers(ask(layout, query, 400)) == expect(living, query, 400)

    def test_room_is_given_back(self, tmp_path: Path, tiny_bundle: Bundle) -> None:
        layout = make_index(tmp_path / "index", tiny_bundle)
        rows = draw_rows(4000)
        add_rows(layout, rows)
        seal(layout)
        remove_items(layout, range(1, 3900))
        path = layout.vectors(generation_of(layout).name)
        before, size = path.stat().st_blocks, path.stat().st_size
        compact(layout)
        compact(layout)
        assert path.stat().st_size == size
        if path.stat().st_blocks == before:
            pytest.skip("a file system without holes")
        assert path.stat().st_blocks < before / 4

    def test_what_is_written_after_the_look_is_not_punched(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seal(layout)
        remove_items(layout, range(390, 401))
        compact(layout)
        punch, late = compaction._punch, draw_rows(3, seed=5)

        def write_first(*arguments: object) -> None:
            add_rows(layout, late, "late")
            punch(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(compaction, "_punch", write_first)
        compact(layout)
        assert np.array_equal(read_rows(layout)[401:], late)

    def test_no_file_goes_while_a_backup_copies(self, layout: Layout) -> None:
        seal(layout)
        remove_items(layout, [5])
        compact(layout)
        orphan = layout.original("ab" * 32)
        orphan.parent.mkdir(parents=True)
        orphan.touch()
        age(orphan)
        with keeping_files(layout):
            compact(layout)
            assert orphan.exists()
            assert read_rows(layout)[5].any()
        compact(layout)
        assert not orphan.exists()
        assert not read_rows(layout)[5].any()


class TestOrphans:
    def test_old_ones_go_and_young_ones_stay(self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path) -> None:
        build(own_pictures, tiny_bundle, tmp_path / "index")
        layout = Layout(tmp_path / "index")
        with editing(layout.folder) as editor:
            editor.add_bytes(SourcePicture("one", None, Path("none")), draw_picture("red", 50))
        needed = [path for path in layout.folder.rglob("*") if path.is_file() and "lock" not in path.name]
        generation = layout.generation(generation_of(layout).name)
        names = [
            layout.original("ab" * 32),
            layout.originals / "ab" / f".{'ab' * 32}-x1y2",
            layout.thumbnail("cd" * 32),
            layout.thumbnail("cd" * 32).parent / f".{'cd' * 32}.jpg-x1y2",
            generation / "snapshot-999.faiss",
            generation / ".snapshot-999.entries-x1y2",
        ]
        cleared = layout.generation("0099-abcdefab")  # its row is gone, its folder not yet
        young = [path.with_name(f"{path.name}.young") for path in names]
        for path in (*names, *young):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (cleared / "model").mkdir(parents=True)
        for path in (*needed, *names, cleared):
            age(path)
        before = answers_of(layout.folder)
        compact(layout)
        assert not [path for path in (*names, cleared) if path.exists()]
        assert all(path.exists() for path in young)
        assert all(
            path.exists() for path in needed if "snapshot" not in path.name and not path.name.endswith(("-shm", "-wal"))
        )
        assert answers_of(layout.folder) == before

    def test_originals_and_thumbnails_of_what_was_removed(self, tmp_path: Path, tiny_bundle: Bundle) -> None:
        layout = make_index(tmp_path / "index", tiny_bundle)
        with editing(layout.folder) as editor:
            for number in range(2):
                picture = SourcePicture(f"copy-{number}", None, Path("none"))
                editor.add_bytes(picture, draw_picture("red"))
            files = [path for kind in ("originals", "thumbnails") for path in (layout.folder / kind).glob("*/*")]
            assert len(files) == 2
            for keys, left in ((["copy-0"], 2), (["copy-1"], 0)):  # the other item has the same picture
                editor.remove(keys)
                for path in files:
                    age(path)
                compact(layout)
                assert sum(path.exists() for path in files) == left


def test_old_generations_are_cleared_to_keep(tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path) -> None:
    folder = tmp_path / "index"
    build(own_pictures, tiny_bundle, folder)
    first = generation_of(Layout(folder)).name
    build(own_pictures, write_tiny_bundle(tmp_path / "other", seed=1), folder)
    before = answers_of(folder)
    assert compact(Layout(folder), keep=1).cleared == ()
    report = compact(Layout(folder), keep=0)
    assert report.cleared == (first,)
    assert report.freed > 0
    assert answers_of(folder) == before


def test_json() -> None:
    report = CompactionReport(3, 0.5, 4096, ("0001-a",))
    assert report.to_json() == {"pictures": 3, "recall": 0.5, "freed": 4096, "cleared": ["0001-a"]}
