"""Old generations: every step back is exact, and none is cleared away that somebody uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.creation import building
from index.encoder import Encoder
from index.errors import ModelMismatchError, OriginalMissingError, UsageError
from index.generations import EncodingPlan, clear_old_generations, roll_back
from index.layout import Layout
from index.searcher import Searcher
from index.sources import SourcePicture
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import Encodes, answers_of, build, check_in_step, editing, generations_of, go_back, swap

GOLDEN = 8  # at most so many pictures are encoded to verify a model


class TestRollback:
    def test_without_later_writes_the_old_answers_exactly(
        self, indexed: Path, own_pictures: Path, better: Bundle, encodes: Encodes
    ) -> None:
        before = answers_of(indexed)
        swap(own_pictures, better, indexed)
        after = answers_of(indexed)
        encodes.take()
        assert go_back(indexed).encoded == 0
        assert encodes.take() <= GOLDEN
        assert answers_of(indexed) == before
        assert go_back(indexed).generation == f"0002-{better.manifest.model_id[:8]}"  # and forward again
        assert answers_of(indexed) == after

    def test_later_writes_and_deletions_stay(
        self, indexed: Path, own_pictures: Path, tiny_bundle: Bundle, better: Bundle, tmp_path: Path
    ) -> None:
        swap(own_pictures, better, indexed)
        write_drawn_pictures(own_pictures, ["green"], per_label=3, first=60)
        (own_pictures / "blue" / "blue-0.png").unlink()
        (own_pictures / "red" / "red-0.png").write_bytes(draw_picture("red", 77))
        report = build(own_pictures, better, indexed, update=True).synchronised
        assert report is not None
        assert go_back(indexed).encoded == 4
        check_in_step(indexed, own_pictures, tiny_bundle, tmp_path / "fresh")

    def test_to_a_named_one(self, indexed: Path, own_pictures: Path, better: Bundle, best: Bundle) -> None:
        before = answers_of(indexed)
        swap(own_pictures, better, indexed, keep=5)
        swap(own_pictures, best, indexed, keep=5)
        first = generations_of(indexed)[-1].name
        assert go_back(indexed, first).generation == first
        assert answers_of(indexed) == before
        with pytest.raises(UsageError, match=r"no such generation to go back to .*expected 000.*found nonsense"):
            go_back(indexed, "nonsense")
        with pytest.raises(UsageError):
            go_back(indexed, first)  # it answers already

    def test_with_no_other(self, indexed: Path) -> None:
        with pytest.raises(UsageError, match="expected an earlier generation, found only 0001-"):
            go_back(indexed)

    def test_what_can_not_be_encoded_stops_it(
        self, indexed: Path, own_pictures: Path, better: Bundle, tmp_path: Path
    ) -> None:
        swap(own_pictures, better, indexed)
        new = own_pictures / "new.png"
        new.write_bytes(draw_picture("red", 77))
        build(own_pictures, better, indexed, update=True)
        before = answers_of(indexed)
        new.unlink()
        with pytest.raises(OriginalMissingError, match=r"missing or changed: new\.png"):
            go_back(indexed)
        assert answers_of(indexed) == before
        assert go_back(indexed, drop_missing=True).dropped == ("new.png",)

    def test_a_query_of_the_other_model_is_refused(
        self, indexed: Path, own_pictures: Path, tiny_encoder: Encoder, tiny_bundle: Bundle, better: Bundle
    ) -> None:
        with Searcher(indexed) as searcher:  # open all the while
            query = tiny_encoder.encode_bytes(draw_picture("red"))
            assert searcher.search(query, 5, model=tiny_bundle.manifest.model_id)
            swap(own_pictures, better, indexed)
            with pytest.raises(ModelMismatchError, match="the index holds another model's vectors"):
                searcher.search(query, 5, model=tiny_bundle.manifest.model_id)
            go_back(indexed)
            assert searcher.search(query, 5, model=tiny_bundle.manifest.model_id).matches


class TestClearing:
    @pytest.mark.parametrize(("keep", "left"), [(0, 1), (1, 2), (2, 3)])
    def test_so_many_old_ones_are_kept(
        self, keep: int, left: int, indexed: Path, own_pictures: Path, better: Bundle, best: Bundle
    ) -> None:
        swap(own_pictures, better, indexed, keep=keep)
        swap(own_pictures, best, indexed, keep=keep)
        names = [one.name for one in generations_of(indexed)]
        assert len(names) == left
        assert names[0] == f"0003-{best.manifest.model_id[:8]}"
        assert sorted(path.name for path in (indexed / "generations").iterdir()) == sorted(names)

    def test_never_one_that_a_process_still_uses(self, indexed: Path, own_pictures: Path, better: Bundle) -> None:
        layout = Layout(indexed)
        with Searcher(indexed) as searcher:
            first = searcher.generation.name  # its view holds the old generation until it catches up
            swap(own_pictures, better, indexed, keep=0)
            assert layout.vectors(first).is_file()
            with CatalogWriter(layout.catalog) as catalog:
                assert clear_old_generations(layout, catalog, 0) == []
                assert searcher.info().size == 24  # it has caught up, and lets go
                assert clear_old_generations(layout, catalog, 0) == [first]
        assert not layout.generation(first).exists()

    def test_never_one_that_is_being_gone_back_to(
        self, indexed: Path, own_pictures: Path, better: Bundle, best: Bundle
    ) -> None:
        """By a compaction beside, which keeps fewer."""
        layout = Layout(indexed)
        for bundle in (better, best):
            swap(own_pictures, bundle, indexed, keep=2)
        first = generations_of(indexed)[2]
        with editing(indexed) as editor:
            editor.add_bytes(SourcePicture("new", None, Path("none")), draw_picture("white", 50))

        def compact(_done: int, _total: int) -> None:
            with CatalogWriter(layout.catalog) as catalog:
                compact_index(layout, catalog, keep=0)

        with CatalogWriter(layout.catalog) as catalog, building(layout):
            assert roll_back(layout, catalog, first.name, EncodingPlan(1), compact).encoded == 1
        assert generations_of(indexed)[0].name == first.name
        with CatalogWriter(layout.catalog) as catalog:
            assert clear_old_generations(layout, catalog, 0)  # it was let go of
        assert [one.name for one in generations_of(indexed)] == [first.name]

    def test_one_whose_folder_is_gone_already(self, indexed: Path, own_pictures: Path, better: Bundle) -> None:
        layout = Layout(indexed)
        swap(own_pictures, better, indexed)
        first = generations_of(indexed)[1].name
        shutil.rmtree(layout.generation(first))
        with CatalogWriter(layout.catalog) as catalog:
            assert clear_old_generations(layout, catalog, 0) == [first]
        assert len(generations_of(indexed)) == 1
