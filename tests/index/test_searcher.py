"""Search: equal to brute force in items, order and scores, at every state an index can be in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index.bundle import Bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.encoder import Encoder
from index.errors import IndexDataError, ItemNotFoundError, ModelMismatchError, UsageError, VectorError
from index.layout import Layout
from index.queries import Bounds
from index.searcher import Searcher, search_picture, search_views
from index.types import Vectors
from index.view_keeper import ViewKeeper
from index.writer import IndexWriter
from tests.drawn_pictures import draw_picture
from tests.vector_gallery import (
    Answers,
    add_rows,
    answers,
    draw_rows,
    expect,
    new_put,
    number_rows,
    remove_items,
    replace_row,
    seal,
)


@pytest.fixture
def searcher(layout: Layout) -> Iterator[Searcher]:
    """One that was there before anything was written."""
    with Searcher(layout.folder) as searcher:
        yield searcher


def ask(searcher: Searcher, query: Vectors, k: int = 10) -> Answers:
    """Search as the index's own model."""
    return answers(searcher.search(query, k, model=searcher.generation.model_id))


class TestExactness:
    @pytest.mark.parametrize("k", [1, 7, 68, 200, 499, 500])
    @pytest.mark.parametrize("sealed_rows", [0, 250, 500])
    def test_equals_brute_force(self, layout: Layout, searcher: Searcher, k: int, sealed_rows: int) -> None:
        rows = draw_rows(500)
        add_rows(layout, rows[:sealed_rows], prefix="a")
        seal(layout)
        add_rows(layout, rows[sealed_rows:], prefix="b")
        for query in (*draw_rows(4, seed=9), rows[3], -rows[499]):
            assert ask(searcher, query, k) == expect(number_rows(rows), query, k)

    def test_more_than_there_are(self, layout: Layout, searcher: Searcher) -> None:
        assert ask(searcher, draw_rows(1)[0], 10) == []
        rows = draw_rows(7)
        add_rows(layout, rows[:4], prefix="a")
        seal(layout)
        add_rows(layout, rows[4:], prefix="b")
        assert ask(searcher, rows[0], 1000) == expect(number_rows(rows), rows[0], 7)

    @pytest.mark.parametrize("sealed_copies", [0, 60, 120])
    @pytest.mark.parametrize("k", [1, 10, 50, 90])
    def test_copies_come_back_by_id(self, layout: Layout, searcher: Searcher, k: int, sealed_copies: int) -> None:
        """120 copies of one vector among others: which of them are in does not hang on where they are kept."""
        copy = draw_rows(1)[0]
        others = draw_rows(150, seed=1)
        add_rows(layout, others[:100], prefix="a")
        add_rows(layout, np.repeat(copy[None], sealed_copies, axis=0), prefix="b")
        seal(layout)
        add_rows(layout, np.repeat(copy[None], 120 - sealed_copies, axis=0), prefix="c")
        add_rows(layout, others[100:], prefix="d")
        rows = np.concatenate([others[:100], np.repeat(copy[None], 120, axis=0), others[100:]])
        for query in (copy, draw_rows(1, seed=5)[0]):
            assert ask(searcher, query, k) == expect(number_rows(rows), query, k)

    def test_many_copies_that_are_not_the_best(self, layout: Layout, searcher: Searcher) -> None:
        query = draw_rows(1)[0]
        near = draw_rows(1, seed=3)[0]
        rows = np.concatenate([np.repeat(near[None], 300, axis=0), query[None], np.repeat(near[None], 300, axis=0)])
        add_rows(layout, rows)
        seal(layout)
        assert ask(searcher, query, 5) == expect(number_rows(rows), query, 5)
        assert [item for item, _ in ask(searcher, query, 5)] == [301, 1, 2, 3, 4]

    def test_scores_are_cosines_within_their_bounds(self, layout: Layout, searcher: Searcher) -> None:
        rows = draw_rows(50)
        add_rows(layout, np.concatenate([rows, -rows]))
        for query in rows[:10]:
            found = ask(searcher, query, 100)
            assert found[0][1] == pytest.approx(1.0, abs=1e-6)
            assert found[-1][1] == pytest.approx(-1.0, abs=1e-6)
            assert all(-1.0 <= score <= 1.0 for _, score in found)

    def test_where_a_vector_is_kept_changes_no_bit(self, layout: Layout, searcher: Searcher) -> None:
        rows = draw_rows(300)
        add_rows(layout, rows)
        queries = draw_rows(8, seed=4)
        from_delta = [ask(searcher, query, 60) for query in queries]
        seal(layout)
        assert [ask(searcher, query, 60) for query in queries] == from_delta
        with Searcher(layout.folder) as other:
            assert [ask(other, query, 60) for query in queries] == from_delta


class TestRefusals:
    @pytest.mark.parametrize("k", [0, -1, 1001])
    def test_k_out_of_range(self, searcher: Searcher, k: int) -> None:
        with pytest.raises(UsageError, match=f"k is out of range \\(expected 1 to 1000, found {k}\\)"):
            ask(searcher, draw_rows(1)[0], k)

    @pytest.mark.parametrize("shape", [(15,), (17,), (1, 16), ()])
    def test_wrong_size(self, searcher: Searcher, shape: tuple[int, ...]) -> None:
        with pytest.raises(VectorError, match=r"wrong size \(expected \(16,\)"):
            ask(searcher, np.ones(shape, dtype=np.float32))

    def test_another_model(self, searcher: Searcher) -> None:
        with pytest.raises(ModelMismatchError, match=r"another model's vectors \(expected model .*found ffff"):
            searcher.search(draw_rows(1)[0], 10, model="f" * 64)

    def test_no_index(self, tmp_path: Path) -> None:
        with pytest.raises(IndexDataError, match="not an index"):
            Searcher(tmp_path)

    def test_an_error_does_not_keep_the_state_open(self, layout: Layout, searcher: Searcher) -> None:
        with pytest.raises(VectorError):
            ask(searcher, np.ones(3, dtype=np.float32))
        add_rows(layout, draw_rows(1))
        assert len(ask(searcher, draw_rows(1)[0])) == 1


class TestCatchingUp:
    def test_each_batch_is_seen_at_once(self, layout: Layout, searcher: Searcher, tiny_bundle: Bundle) -> None:
        rows = draw_rows(40)
        with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
            for number, row in enumerate(rows):
                writer.apply([new_put(f"key {number}", row, tiny_bundle.manifest.model_id)])
                assert ask(searcher, row, 3) == expect(number_rows(rows[: number + 1]), row, 3)
                assert searcher.info().size == number + 1
                if number in (10, 25):
                    seal(layout)

    @pytest.mark.parametrize("seed", range(6))
    def test_any_history_equals_brute_force(self, layout: Layout, searcher: Searcher, seed: int) -> None:
        """Every kind of write, and seals, in a random order; an old and a new reader agree with the oracle."""
        random = np.random.default_rng(seed)
        living: dict[int, Vectors] = {}
        newest = 0
        for step in range(25):
            kind = random.choice(["add", "add", "copy", "remove", "replace", "seal", "trim"])
            if kind == "add" or (kind == "copy" and not living):
                rows = draw_rows(int(random.integers(1, 30)), seed=1000 * seed + step)
            elif kind == "copy":
                rows = np.repeat(living[int(random.choice(list(living)))][None], 12, axis=0)
            if kind in ("add", "copy"):
                add_rows(layout, rows, prefix=f"{step}")
                living |= number_rows(rows, newest + 1)
                newest += len(rows)
            elif kind == "remove" and living:
                gone = random.choice(list(living), size=min(len(living), int(random.integers(1, 15))), replace=False)
                remove_items(layout, gone.tolist())
                living = {item: row for item, row in living.items() if item not in gone}
            elif kind == "replace" and living:
                item = int(random.choice(list(living)))
                living[item] = draw_rows(1, seed=2000 * seed + step)[0]
                replace_row(layout, str(searcher.item(item).key), living[item])
            elif kind == "seal":
                seal(layout)
            elif kind == "trim":
                with CatalogWriter(layout.catalog) as catalog, catalog.writing():
                    catalog.trim_log()
            query = living[int(random.choice(list(living)))] if living else draw_rows(1)[0]
            expected = expect(living, query, 15)
            assert ask(searcher, query, 15) == expected, (step, kind)
            if step % 6 == 0:
                with Searcher(layout.folder) as fresh:
                    assert ask(fresh, query, 15) == expected, (step, kind)

    def test_all_removed(self, layout: Layout, searcher: Searcher) -> None:
        add_rows(layout, draw_rows(50))
        seal(layout)
        assert len(ask(searcher, draw_rows(1)[0])) == 10
        remove_items(layout, range(1, 51))
        assert ask(searcher, draw_rows(1)[0]) == []
        seal(layout)
        assert ask(searcher, draw_rows(1)[0]) == []
        with Searcher(layout.folder) as fresh:
            assert ask(fresh, draw_rows(1)[0]) == []

    def test_nothing_changed_reads_nothing_anew(
        self, layout: Layout, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_rows(layout, draw_rows(50))
        seal(layout)
        expected = ask(searcher, draw_rows(1)[0])
        monkeypatch.setattr(ViewKeeper, "_advance", None)
        assert ask(searcher, draw_rows(1)[0]) == expected

    def test_a_search_that_another_thread_overtook(
        self, layout: Layout, searcher: Searcher, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its transaction is older than the view that all threads share: it begins again, and mixes nothing."""
        rows = draw_rows(20)
        model = tiny_bundle.manifest.model_id
        add_rows(layout, rows[:10], prefix="a")
        change_number = Catalog.change_number

        def overtaken(catalog: Catalog) -> int:
            monkeypatch.undo()
            number = change_number(catalog)
            add_rows(layout, rows[10:], prefix="b")
            other = threading.Thread(target=searcher.search, args=(rows[0], 1), kwargs={"model": model})
            other.start()
            other.join()
            return number

        monkeypatch.setattr(Catalog, "change_number", overtaken)
        result = searcher.search(rows[15], 20, model=model)
        assert answers(result) == expect(number_rows(rows), rows[15], 20)
        assert result.index.size == 20

    def test_threads_search_while_a_writer_adds(self, layout: Layout, searcher: Searcher, tiny_bundle: Bundle) -> None:
        """Every acknowledged item is found, by itself, with the oracle's score, through seals and removals."""
        rows = draw_rows(240)
        acknowledged = 0
        failures: list[str] = []

        def read(seed: int) -> None:
            random = np.random.default_rng(seed)
            while (known := acknowledged) < len(rows):
                if known:
                    number = int(random.integers(0, known))
                    found = ask(searcher, rows[number], 1)
                    if found != expect({number + 1: rows[number]}, rows[number], 1):
                        failures.append(f"{number} of {known}: {found}")

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
                for start in range(0, len(rows), 8):
                    batch = enumerate(rows[start : start + 8])
                    writer.apply([new_put(f"{start}-{n}", row, tiny_bundle.manifest.model_id) for n, row in batch])
                    acknowledged = min(start + 8, len(rows) - 1)
                    if start % 64 == 56:
                        seal(layout)
        finally:
            acknowledged = len(rows)
            for thread in threads:
                thread.join()
        assert failures == []


class TestBounds:
    """Thresholds and exclusions, in delta and snapshot at once."""

    @pytest.fixture
    def rows(self, layout: Layout) -> Vectors:
        """120 vectors, the first 70 of them sealed."""
        rows = draw_rows(120)
        add_rows(layout, rows[:70], prefix="a")
        seal(layout)
        add_rows(layout, rows[70:], prefix="b")
        return rows

    @pytest.mark.parametrize("least", [-1.0, 0.0, 0.3, 0.99, 1.1])
    def test_min_score(self, searcher: Searcher, rows: Vectors, least: float) -> None:
        query = rows[4]
        model = searcher.generation.model_id
        found = answers(searcher.search(query, 30, model=model, bounds=Bounds(min_score=least)))
        assert found == [pair for pair in expect(number_rows(rows), query, 30) if pair[1] >= least]

    def test_exclude(self, searcher: Searcher, rows: Vectors) -> None:
        query = rows[4]
        best = [item for item, _ in expect(number_rows(rows), query, 40)]
        excluded = frozenset({*best[:25], 9999})
        living = {item: row for item, row in number_rows(rows).items() if item not in excluded}
        model = searcher.generation.model_id
        found = answers(searcher.search(query, 10, model=model, bounds=Bounds(exclude=excluded)))
        assert found == expect(living, query, 10)

    @pytest.mark.parametrize("item", [5, 100])
    def test_by_item(self, searcher: Searcher, rows: Vectors, item: int) -> None:
        """Itself is left out, and what is excluded besides."""
        living = number_rows(rows)
        query = living.pop(item)
        assert answers(searcher.search_item(item, 10)) == expect(living, query, 10)
        best = expect(living, query, 1)[0][0]
        del living[best]
        found = answers(searcher.search_item(item, 10, Bounds(0.1, frozenset({best}))))
        assert found == [pair for pair in expect(living, query, 10) if pair[1] >= 0.1]

    def test_by_an_item_with_copies(self, layout: Layout, searcher: Searcher, rows: Vectors) -> None:
        add_rows(layout, np.repeat(rows[:1], 20, axis=0), prefix="copy")
        seal(layout)
        assert [item for item, _ in answers(searcher.search_item(130, 20))] == [1, *range(121, 130), *range(131, 141)]

    def test_by_an_item_that_is_gone(self, layout: Layout, searcher: Searcher, rows: Vectors) -> None:
        remove_items(layout, [5])
        with pytest.raises(ItemNotFoundError, match=r"no such item \(expected the id of an item, found 5\)"):
            searcher.search_item(5, 10)
        with pytest.raises(UsageError, match="k is out of range"):
            searcher.search_item(6, 0)


def test_says_what_it_is(layout: Layout, searcher: Searcher, tiny_bundle: Bundle) -> None:
    model = tiny_bundle.manifest.model_id
    empty = searcher.info()
    assert (empty.generation, empty.model, empty.size, empty.recall) == (f"0001-{model[:8]}", model, 0, None)
    assert searcher.snapshot() is None
    add_rows(layout, draw_rows(12))
    seal(layout)
    result = searcher.search(draw_rows(1)[0], 3, model=model)
    assert (result.index.size, searcher.info().recall) == (12, 1.0)
    assert searcher.snapshot() is not None  # and from now on in use
    assert searcher.search(draw_rows(1)[0], 3, model=model).index == searcher.info()
    assert searcher.read_bundle().manifest == tiny_bundle.manifest
    assert searcher.sources() == []
    assert [item.id for item in searcher.sample_items(3)] == [1, 6, 12]


def test_no_such_item(layout: Layout, searcher: Searcher) -> None:
    add_rows(layout, draw_rows(2))
    assert searcher.picture(2).id == 2
    with pytest.raises(ItemNotFoundError, match=r"no such item \(expected the id of an item, found 3\)"):
        searcher.picture(3)


def test_search_by_picture(layout: Layout, searcher: Searcher, tiny_encoder: Encoder) -> None:
    names = [(label, number) for label in ("red", "blue") for number in (0, 2)]
    vectors = np.stack([tiny_encoder.encode_bytes(draw_picture(*name)) for name in names])
    add_rows(layout, vectors)
    for number, name in enumerate(names):
        result = search_picture(searcher, tiny_encoder, draw_picture(*name), 4)
        assert answers(result) == expect(number_rows(vectors), vectors[number], 4)
        assert result.matches[0].item.id == number + 1


def test_search_by_several_views(layout: Layout, searcher: Searcher, tiny_encoder: Encoder) -> None:
    views = [draw_picture("red", 0), draw_picture("blue", 2)]
    vectors = np.stack([tiny_encoder.encode_bytes(data) for data in views])
    others = draw_rows(20)
    add_rows(layout, np.concatenate([vectors, others]))
    mean = vectors.astype(np.float64).mean(axis=0)
    query = (mean / np.linalg.norm(mean)).astype(np.float32)
    found = answers(search_views(searcher, tiny_encoder, views, 10, Bounds(exclude=frozenset({1}))))
    living = number_rows(np.concatenate([vectors, others]))
    del living[1]
    expected = expect(living, query, 10)
    assert [item for item, _ in found] == [item for item, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)
