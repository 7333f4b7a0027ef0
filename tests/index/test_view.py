"""What a search looks into: complete under every recipe, with hundreds of copies, and around what is damaged."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.errors import IndexDataError
from index.generations import clear_generation
from index.layout import Layout
from index.searcher import Bounds, Searcher
from index.types import Vectors
from index.view import GenerationHold
from tests.vector_gallery import (
    Answers,
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

GROUP = 300  # items that share a vector


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """An index without items."""
    return make_index(tmp_path / "index", tiny_bundle)


def ask(searcher: Searcher, query: Vectors, k: int = 10, bounds: Bounds | None = None) -> Answers:
    """Search as the index's own model."""
    return answers(searcher.search(query, k, model=searcher.generation.model_id, bounds=bounds or Bounds()))


def draw_gallery() -> Vectors:
    """(2000, 16): three groups of 300 identical rows, spread among 1100 single ones."""
    rows = draw_rows(2000, seed=11)
    places = np.random.default_rng(5).permutation(2000)[: 3 * GROUP].reshape(3, GROUP)
    for place in places:
        rows[place] = rows[place.min()]
    return rows


class Gallery:
    """An hnsw index in some state, and what lives in it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        rows = draw_gallery()
        add_rows(layout, rows[:1500], prefix="a")
        seal(layout)
        add_rows(layout, rows[1500:], prefix="b")
        self.living = number_rows(rows)

    def copies(self) -> list[list[int]]:
        """The items of each group, ascending."""
        groups: dict[bytes, list[int]] = {}
        for item, row in self.living.items():
            groups.setdefault(row.tobytes(), []).append(item)
        return [sorted(group) for group in groups.values() if len(group) > 2]

    def remove(self, items: list[int]) -> None:
        remove_items(self.layout, items)
        for item in items:
            del self.living[item]

    def replace(self, item: int, row: Vectors) -> None:
        key = f"a-{item - 1}" if item <= 1500 else f"b-{item - 1501}"
        replace_row(self.layout, key, row)
        self.living[item] = row


def leave(gallery: Gallery) -> None:
    """1,500 sealed, 500 in the delta."""


def seal_all(gallery: Gallery) -> None:
    """Everything in the snapshot."""
    seal(gallery.layout)


def remove_representatives(gallery: Gallery) -> None:
    """Of each group the first is gone, and half of the first group; of 50 single ones everything."""
    first, second, third = gallery.copies()
    alone = sorted(set(gallery.living) - {*first, *second, *third})[:50]
    gallery.remove([*first[: GROUP // 2], second[0], third[0], *alone])


def remove_then_seal(gallery: Gallery) -> None:
    """The same, across a seal."""
    remove_representatives(gallery)
    seal(gallery.layout)


def remove_a_whole_group(gallery: Gallery) -> None:
    """All but one sealed copy of a group, so that one entry is emptied or nearly so, and another group whole."""
    first, second, _ = gallery.copies()
    gallery.remove([*first[1:], *second])


def update(gallery: Gallery) -> None:
    """Copies become single ones, and a single one becomes a copy, sealed and unsealed."""
    first, second, _ = gallery.copies()
    for item, row in zip([first[0], first[-1], second[1]], draw_rows(3, seed=77), strict=True):
        gallery.replace(item, row)
    alone = sorted(set(gallery.living) - {item for group in gallery.copies() for item in group})
    gallery.replace(alone[0], gallery.living[second[-1]])


def update_then_seal(gallery: Gallery) -> None:
    """The same, across a seal."""
    update(gallery)
    seal(gallery.layout)


STATES = [leave, seal_all, remove_representatives, remove_then_seal, remove_a_whole_group, update, update_then_seal]


@pytest.mark.parametrize("change", STATES)
def test_hnsw_with_hundreds_of_copies(tmp_path: Path, tiny_bundle: Bundle, change: Callable[[Gallery], None]) -> None:
    """Always min(k, matches) results, every item among its own, and those of the snapshot as good as the rest."""
    gallery = Gallery(make_index(tmp_path / "hnsw", tiny_bundle, "hnsw"))
    with Searcher(gallery.layout.folder) as searcher:  # one that was there before, and catches up
        ask(searcher, draw_rows(1)[0])
        change(gallery)
        living = gallery.living
        copies = gallery.copies()
        for k in (1, 10, 400, 1000):
            found = [item for item, _ in ask(searcher, draw_rows(1, seed=k)[0], k)]
            assert len(found) == len(set(found)) == min(k, len(living))
            assert living.keys() >= set(found)
        for group in copies:
            best = ask(searcher, living[group[0]], len(group))
            assert [item for item, _ in best] == group  # every copy, by id
            assert min(score for _, score in best) == pytest.approx(1.0, abs=1e-6)
            assert ask(searcher, living[group[0]], len(group) + 5)[: len(group)] == best
        alone = sorted(set(living) - {item for group in copies for item in group})
        for item in [*alone[::40], alone[-1]]:
            assert ask(searcher, living[item], 1)[0][0] == item
            assert item not in [other for other, _ in answers(searcher.search_item(item, 10))]
        queries = draw_rows(20, seed=3)
        hits = [len({*ask(searcher, query, 10)} & {*expect(living, query, 10)}) for query in queries]
        assert np.mean(hits) >= 9.8
        with Searcher(gallery.layout.folder) as fresh:
            for query in queries[:5]:
                assert ask(fresh, query, 30) == ask(searcher, query, 30)


@pytest.mark.parametrize("recipe", ["flat", "hnsw"])
def test_exclusions_and_thresholds_among_copies(tmp_path: Path, tiny_bundle: Bundle, recipe: str) -> None:
    layout = make_index(tmp_path / "copies", tiny_bundle, recipe)
    rows = draw_rows(200)
    rows[50:110] = rows[50]
    add_rows(layout, rows[:100], prefix="a")
    seal(layout)
    add_rows(layout, rows[100:], prefix="b")
    with Searcher(layout.folder) as searcher:
        assert ask(searcher, rows[50], 200, Bounds(min_score=0.999)) == expect(number_rows(rows), rows[50], 60)
        excluded = frozenset(range(51, 106))
        living = {item: row for item, row in number_rows(rows).items() if item not in excluded}
        assert ask(searcher, rows[50], 20, Bounds(exclude=excluded)) == expect(living, rows[50], 20)
        living = {item: row for item, row in number_rows(rows).items() if item != 60}
        assert answers(searcher.search_item(60, 80)) == expect(living, rows[59], 80)


@pytest.mark.parametrize("recipe", ["IVF16,Flat", "PCA8,IVF4,Flat", "HNSW8_SQ8", "SQ8", "hnsw"])
def test_any_recipe_gives_as_many_as_there_are(tmp_path: Path, tiny_bundle: Bundle, recipe: str) -> None:
    layout = make_index(tmp_path / "recipe", tiny_bundle, recipe)
    rows = draw_rows(640)
    add_rows(layout, rows)
    seal(layout)
    remove_items(layout, range(1, 101))
    living = {item: row for item, row in number_rows(rows).items() if item > 100}
    with Searcher(layout.folder) as searcher:
        for k in (1, 50, 500, 540, 1000):
            found = ask(searcher, rows[300], k)
            assert found[0][0] == 301
            assert len({item for item, _ in found}) == len(found) == min(k, 540)
            assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))
            assert set(found) <= set(expect(living, rows[300], 540))


@pytest.mark.parametrize("recipe", ["IVF10,Flat", "hnsw"])
def test_near_copies_end_even_where_few_are_probed(tmp_path: Path, tiny_bundle: Bundle, recipe: str) -> None:
    """Rows closer together than a float32 sum can tell: an IVF list holds only some of them, and the search ends."""
    layout = make_index(tmp_path / "near", tiny_bundle, recipe)
    near = draw_rows(1) + np.random.default_rng(2).normal(size=(600, 16)) * 3e-7
    rows: Vectors = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    add_rows(layout, rows)
    seal(layout)
    with Searcher(layout.folder) as searcher:
        assert ask(searcher, rows[0], 10) == expect(number_rows(rows), rows[0], 10)


class TestDamage:
    """Searches are exact where the snapshot can not be trusted, and the log says so."""

    @pytest.fixture(params=["*.faiss", "*.entries"])
    def path(self, layout: Layout, request: pytest.FixtureRequest) -> Path:
        """Each of a snapshot's two files; 60 of 70 rows are sealed."""
        add_rows(layout, draw_rows(60), prefix="a")
        seal(layout)
        add_rows(layout, draw_rows(10, seed=1), prefix="b")
        (path,) = layout.folder.glob(f"generations/*/{request.param}")
        return path

    def check(self, layout: Layout) -> None:
        """Exact, now and after later writes, and whole again after the next seal."""
        rows = np.concatenate([draw_rows(60), draw_rows(10, seed=1), draw_rows(10, seed=2)])
        with Searcher(layout.folder) as searcher:
            assert ask(searcher, rows[5], 30) == expect(number_rows(rows[:70]), rows[5], 30)
            add_rows(layout, rows[70:], prefix="c")
            remove_items(layout, [6, 75])
            living = {n: row for n, row in number_rows(rows).items() if n not in (6, 75)}
            assert ask(searcher, rows[5], 30) == expect(living, rows[5], 30)
            assert searcher.unsealed() == (78, 0)
            seal(layout)
            assert ask(searcher, rows[5], 30) == expect(living, rows[5], 30)
            assert searcher.unsealed() == (0, 0)

    def test_a_corrupt_file(self, layout: Layout, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        self.check(layout)
        messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert len(messages) == 1
        assert messages[0].startswith(f"{path}: the snapshot is not the one that was sealed")
        assert messages[0].endswith("searching all rows exactly")

    def test_a_missing_file(self, layout: Layout, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path.unlink()
        self.check(layout)
        assert caplog.text.count(f"{path}: the snapshot is missing; searching all rows exactly") == 1

    def test_vectors_that_are_too_short(self, layout: Layout) -> None:
        add_rows(layout, draw_rows(10))
        path = layout.vectors(generation_of(layout).name)
        os.truncate(path, 5 * 64)
        with pytest.raises(IndexDataError, match=rf"{path}: the file is shorter .*expected row 10, found 5 rows"):
            Searcher(layout.folder)

    @pytest.mark.parametrize("name", ["vectors.f32", "manifest.json"])
    def test_what_is_missing_is_named(self, layout: Layout, name: str) -> None:
        path = layout.generation(generation_of(layout).name) / name
        path.unlink()
        with pytest.raises(IndexDataError, match=rf"{path}: .*(missing|can not be read)"):
            Searcher(layout.folder)


@pytest.fixture
def second_generation(layout: Layout, make_tiny_bundle: Callable[..., Bundle], tmp_path: Path) -> Iterator[Searcher]:
    """A reader that still looks into the first of two generations of an index of five items."""
    rows = draw_rows(5)
    add_rows(layout, rows)
    other = make_index(tmp_path / "other", make_tiny_bundle(tmp_path / "bundle", seed=3))
    with Searcher(layout.folder) as searcher:
        ask(searcher, rows[0])
        name = generation_of(other).name.replace("0001", "0002")
        other.generation(generation_of(other).name).rename(layout.generation(name))
        with CatalogWriter(layout.catalog) as catalog, catalog.writing():
            model = generation_of(other).model_id
            catalog.activate_generation(catalog.insert_generation(name, model, 16, "flat"))
            for item in range(1, 6):  # so that the new generation lacks nothing
                catalog.delete_item(item)
        yield searcher


def test_a_generation_in_use_is_not_cleared_away(layout: Layout, second_generation: Searcher) -> None:
    with CatalogWriter(layout.catalog) as catalog:
        _, old = catalog.generations()
        assert not clear_generation(layout, catalog, old)
        assert layout.vectors(old.name).is_file()
        assert len(catalog.generations()) == 2
        assert second_generation.generation.name != old.name  # it caught up, and lets go
        assert clear_generation(layout, catalog, old)
        assert not layout.generation(old.name).exists()
        assert len(catalog.generations()) == 1
    assert ask(second_generation, draw_rows(1)[0]) == []


def count_descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_hold_ends_with_the_last_view(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.touch()
    before = count_descriptors()
    hold: GenerationHold | None = GenerationHold(manifest)
    assert hold is not None
    assert count_descriptors() == before + 1
    hold = None
    assert count_descriptors() == before


def test_a_hold_on_what_was_cleared_away_while_it_waited(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.touch()
    errors: list[Exception] = []

    def hold() -> None:
        try:
            GenerationHold(manifest)
        except FileNotFoundError as error:
            errors.append(error)

    with closing(manifest.open()) as clearing:
        fcntl.flock(clearing, fcntl.LOCK_EX)
        thread = threading.Thread(target=hold)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()  # it waits
        manifest.unlink()
    thread.join()
    assert [str(error.filename) for error in errors if isinstance(error, FileNotFoundError)] == [str(manifest)]


def test_a_stale_reader_loads_a_trimmed_index_anew(layout: Layout) -> None:
    rows = draw_rows(60)
    add_rows(layout, rows[:20], prefix="a")
    with Searcher(layout.folder) as searcher:
        assert len(ask(searcher, rows[0])) == 10
        add_rows(layout, rows[20:50], prefix="b")
        remove_items(layout, [1, 30])
        seal(layout)
        with CatalogWriter(layout.catalog) as catalog, catalog.writing():
            catalog.trim_log()
        add_rows(layout, rows[50:], prefix="c")
        remove_items(layout, [2, 55])
        living = {item: row for item, row in number_rows(rows).items() if item not in (1, 2, 30, 55)}
        assert ask(searcher, rows[0], 60) == expect(living, rows[0], 60)
        assert searcher.unsealed() == (9, 1)


def test_the_generation_that_answers_is_never_cleared_away(layout: Layout) -> None:
    """As where another process went back to it after this one listed what is old."""
    add_rows(layout, draw_rows(5))
    active = generation_of(layout)
    with CatalogWriter(layout.catalog) as catalog:
        assert not clear_generation(layout, catalog, active)
    with Searcher(layout.folder) as searcher:
        assert ask(searcher, draw_rows(5)[2], 1)[0][0] == 3
