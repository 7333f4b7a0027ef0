"""Another model beside the one that answers: nothing that is written meanwhile is lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from index import generations
from index.additions import IndexEditor, ItemPatch
from index.bundle import Bundle
from index.catalog import Catalog, Generation
from index.catalog_writer import CatalogWriter
from index.encoding import encode_picture
from index.errors import (
    CrossmatchError,
    GenerationChangedError,
    GoldenMismatchError,
    IndexDataError,
    OriginalMissingError,
    SourceError,
)
from index.generations import EncodingPlan, SwapReport, build_generation
from index.layout import Layout
from index.searcher import Searcher
from index.sources import SourcePicture
from index.writer import IndexWriter
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import (
    Encodes,
    OnProgress,
    answers_of,
    build,
    check_in_step,
    contents_of,
    editing,
    fields_of,
    generations_of,
    items_of,
    swap,
)

GOLDEN = 8  # at most so many pictures are encoded to verify a model


def add_picture(folder: Path, key: str, data: bytes) -> None:
    """A write of another process: it opens the index anew."""
    with editing(folder) as editor:
        editor.add_bytes(SourcePicture(key, "added", Path("none")), data)


def at(place: int, work: Callable[[], None]) -> OnProgress:
    """Do something in another thread once so many pictures are encoded, and wait for it."""
    left = [place]

    def on_progress(done: int, total: int) -> None:
        if left and done == left[0]:
            left.clear()
            thread = Thread(target=work)
            thread.start()
            thread.join()

    return on_progress


class TestAnotherModel:
    def test_everything_is_encoded_again_and_answers_as_a_fresh_build_does(
        self, indexed: Path, own_pictures: Path, better: Bundle, encodes: Encodes, tmp_path: Path
    ) -> None:
        before, items = answers_of(indexed), items_of(indexed)
        (first,) = generations_of(indexed)
        encodes.take()
        report = swap(own_pictures, better, indexed)
        assert 24 <= encodes.take() <= 24 + GOLDEN
        name = f"0002-{better.manifest.model_id[:8]}"
        assert report == SwapReport(name, 24, ())
        assert (indexed / "CURRENT").read_text() == f"{name}\n"
        assert [one.name for one in generations_of(indexed)] == [name, first.name]
        assert items_of(indexed) == items
        assert answers_of(indexed) != before
        check_in_step(indexed, own_pictures, better, tmp_path / "fresh")
        with Searcher(indexed) as searcher:
            assert searcher.info().recall == 1.0  # it is sealed

    def test_none_is_removed_and_what_was_added_is_encoded_from_originals(
        self, indexed: Path, own_pictures: Path, better: Bundle
    ) -> None:
        """The rest of the source is left for `--update`; a key that came with `add` has its picture in the index."""
        add_picture(indexed, "added", draw_picture("white", 50))
        write_drawn_pictures(own_pictures, ["red"], per_label=1, first=90)
        assert swap(own_pictures, better, indexed).encoded == 25
        assert len(items_of(indexed)) == 25

    def test_the_old_generation_answers_until_then(self, indexed: Path, own_pictures: Path, better: Bundle) -> None:
        before, seen = answers_of(indexed), []
        swap(own_pictures, better, indexed, on_progress=at(24, lambda: seen.append(answers_of(indexed))))
        assert seen == [before]

    def test_a_source_that_is_not_in_the_index(self, indexed: Path, better: Bundle, drawn_pictures: Path) -> None:
        with pytest.raises(SourceError, match="another model can only encode what is in the index already"):
            swap(drawn_pictures, better, indexed)
        assert len(generations_of(indexed)) == 1

    def test_a_model_that_computes_otherwise_is_not_taken(
        self, indexed: Path, own_pictures: Path, better: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(encoder: object) -> float:
            raise GoldenMismatchError("golden picture 0 gives another vector")

        before = answers_of(indexed)
        monkeypatch.setattr("index.generations.verify_golden", refuse)
        with pytest.raises(GoldenMismatchError):
            swap(own_pictures, better, indexed)
        assert answers_of(indexed) == before

    def test_rows_that_are_not_what_was_written_do_not_answer(
        self, indexed: Path, own_pictures: Path, better: Bundle
    ) -> None:
        def damage() -> None:
            (path,) = indexed.glob("generations/0002-*/vectors.f32")
            with path.open("r+b") as file:
                file.seek(64)
                file.write(b"\xff" * 4)

        before = answers_of(indexed)
        with pytest.raises(IndexDataError, match="rows are not what was written"):
            swap(own_pictures, better, indexed, on_progress=at(24, damage))
        assert answers_of(indexed) == before


class TestWritesMeanwhile:
    def test_they_are_brought_over(self, indexed: Path, own_pictures: Path, better: Bundle, tmp_path: Path) -> None:
        """Each kind of write, early, late, and after what it changes was encoded."""

        def write() -> None:
            add_picture(indexed, "added", draw_picture("white", 50))
            with editing(indexed) as editor:
                editor.update("red/red-0.png", ItemPatch(draw_picture("red", 51), "scarlet"))
                editor.update("red/red-1.jpg", ItemPatch(metadata={"price": 3}))
                editor.remove(["blue/blue-0.png", "white/white-2.png"])

        assert swap(own_pictures, better, indexed, on_progress=at(20, write)).encoded >= 24
        self._check(indexed, better, tmp_path)

    @pytest.mark.parametrize(("last", "swaps"), [(32, [True]), (1, [False, True])])
    def test_those_between_the_seal_and_the_swap(
        self,
        indexed: Path,
        own_pictures: Path,
        better: Bundle,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        last: int,
        swaps: list[bool],
    ) -> None:
        """The swap's own transaction finds that two pictures are lacking; the snapshot is there and stays."""
        swap_to = generations._CatchingUp.swap
        calls: list[bool] = []

        def write_then_swap(catching: generations._CatchingUp, most: int) -> bool:
            if not calls:
                add_picture(indexed, "added", draw_picture("white", 50))
                with editing(indexed) as editor:
                    editor.update("red/red-0.png", ItemPatch(draw_picture("red", 51), "scarlet"))
                    editor.update("red/red-1.jpg", ItemPatch(metadata={"price": 3}))
                    editor.remove(["blue/blue-0.png", "white/white-2.png"])
            calls.append(swap_to(catching, most))
            return calls[-1]

        monkeypatch.setattr(generations._CatchingUp, "swap", write_then_swap)
        monkeypatch.setattr(generations, "_LAST", last)
        swap(own_pictures, better, indexed)
        assert calls == swaps
        self._check(indexed, better, tmp_path)

    @staticmethod
    def _check(indexed: Path, bundle: Bundle, tmp_path: Path) -> None:
        items = items_of(indexed)
        assert (items["added"].id, items["red/red-0.png"].label) == (25, "scarlet")
        assert items["red/red-1.jpg"].metadata == {"price": 3}
        source = write_drawn_pictures(tmp_path / "expected")
        for key in ("blue/blue-0.png", "white/white-2.png"):
            (source / key).unlink()
        (source / "red" / "red-0.png").write_bytes(draw_picture("red", 51))
        (source / "added").write_bytes(draw_picture("white", 50))
        manifest = tmp_path / "expected.csv"
        manifest.write_text("path,key\n" + "".join(f"expected/{key},{key}\n" for key in sorted(items)))
        build(manifest, bundle, tmp_path / "fresh")
        assert contents_of(indexed) == contents_of(tmp_path / "fresh")
        assert answers_of(indexed) == answers_of(tmp_path / "fresh")

    def test_a_writer_that_encoded_for_the_old_generation_encodes_again(
        self, indexed: Path, own_pictures: Path, better: Bundle, monkeypatch: pytest.MonkeyPatch, encodes: Encodes
    ) -> None:
        """The swap comes after its picture was encoded and before its transaction."""
        models: list[str] = []

        def encode_and_be_overtaken(layout: Layout, encoder: object, *rest: object) -> object:
            found = encode_picture(layout, encoder, *rest)  # type: ignore[arg-type]
            models.append(found.model)
            if len(models) == 1:
                swap(own_pictures, better, indexed)
            return found

        monkeypatch.setattr("index.additions.encode_picture", encode_and_be_overtaken)
        add_picture(indexed, "added", draw_picture("white", 50))
        assert models[1:] == [better.manifest.model_id]
        with Searcher(indexed) as searcher, Catalog(Layout(indexed).catalog) as catalog:
            assert searcher.info().size == 25
            assert not catalog.pictures_without_vector(catalog.active_generation())

    def test_an_update_and_a_bulk_add_are_overtaken(
        self, indexed: Path, own_pictures: Path, better: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        apply, left = IndexWriter.apply, ["swap"]

        def overtaken(writer: IndexWriter, writes: object) -> object:
            if left:
                left.clear()
                swap(own_pictures, better, indexed)
            return apply(writer, writes)  # type: ignore[arg-type]

        monkeypatch.setattr(IndexWriter, "apply", overtaken)
        new = write_drawn_pictures(own_pictures.parent / "new", ["black"], per_label=3, first=60)
        pictures = [SourcePicture(path.name, None, path) for path in sorted(new.rglob("*.*"))]
        with editing(indexed) as editor:
            assert editor.add(pictures).added == 3
        with Searcher(indexed) as searcher:
            assert (searcher.info().size, searcher.generation.model_id) == (27, better.manifest.model_id)

    def test_a_writer_that_is_overtaken_again_and_again_gives_up(
        self, indexed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise GenerationChangedError("another model's generation has become the active one")

        monkeypatch.setattr("index.writer.IndexWriter.apply", refuse)
        with editing(indexed) as editor, pytest.raises(CrossmatchError, match="again and again"):
            editor.update("red/red-0.png", ItemPatch(label="x"))


class TestSteadyWrites:
    def test_whoever_writes_without_a_pause_does_not_keep_a_swap_from_happening(
        self, indexed: Path, own_pictures: Path, better: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Checking the rows of a large index takes longer than a write: something is always missing after it."""
        check = generations.check_rows
        written: list[str] = []
        stop = Event()

        def check_slowly(layout: Layout, catalog: CatalogWriter, generation: Generation) -> None:
            check(layout, catalog, generation)
            seen = len(written)
            while len(written) < seen + 3:
                time.sleep(0.01)

        def write() -> None:
            while not stop.is_set():
                key = f"steady/{len(written)}"
                add_picture(indexed, key, draw_picture("red", 1000 + len(written)))
                written.append(key)

        monkeypatch.setattr(generations, "check_rows", check_slowly)
        writer = Thread(target=write)
        swapper = Thread(target=swap, args=(own_pictures, better, indexed), daemon=True)
        writer.start()
        try:
            swapper.start()
            swapper.join(60)
            assert not swapper.is_alive()
        finally:
            stop.set()
            writer.join()
        assert generations_of(indexed)[0].model_id == better.manifest.model_id
        assert set(written) <= set(items_of(indexed))
        with Catalog(Layout(indexed).catalog) as catalog:
            assert not catalog.pictures_without_vector(catalog.active_generation())


class StopError(Exception):
    """A build is stopped here."""


class TestInterrupted:
    def test_it_goes_on_without_encoding_again_what_is_there(
        self,
        indexed: Path,
        own_pictures: Path,
        better: Bundle,
        encodes: Encodes,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        def stop(done: int, total: int) -> None:
            if done == 15:
                raise StopError

        before = answers_of(indexed)
        monkeypatch.setattr("index.generations._BATCH", 4)
        with pytest.raises(StopError):
            swap(own_pictures, better, indexed, on_progress=stop)
        assert answers_of(indexed) == before
        encodes.take()
        assert swap(own_pictures, better, indexed) == SwapReport(f"0002-{better.manifest.model_id[:8]}", 12, ())
        assert 12 <= encodes.take() <= 12 + GOLDEN
        check_in_step(indexed, own_pictures, better, tmp_path / "fresh")

    def test_a_third_model_clears_the_draft_away(
        self, indexed: Path, own_pictures: Path, better: Bundle, best: Bundle
    ) -> None:
        def stop(done: int, total: int) -> None:
            raise StopError

        with pytest.raises(StopError):
            swap(own_pictures, better, indexed, on_progress=stop)
        assert len(list((indexed / "generations").iterdir())) == 2
        swap(own_pictures, best, indexed)
        assert sorted(path.name[5:] for path in (indexed / "generations").iterdir()) == sorted(
            one.model_id[:8] for one in generations_of(indexed)
        )
        with Catalog(Layout(indexed).catalog) as catalog:
            assert not catalog.drafts()

    def test_a_draft_whose_folder_is_gone_begins_anew(self, indexed: Path, own_pictures: Path, better: Bundle) -> None:
        def stop(done: int, total: int) -> None:
            if done == 24:
                raise StopError

        with pytest.raises(StopError):
            swap(own_pictures, better, indexed, on_progress=stop)
        shutil.rmtree(next((indexed / "generations").glob("0002-*")))
        assert swap(own_pictures, better, indexed).encoded == 24


class TestMissingOriginals:
    def lose(self, own_pictures: Path) -> list[str]:
        """One is gone, one is another picture now."""
        (own_pictures / "blue" / "blue-0.png").unlink()
        (own_pictures / "red" / "red-0.png").write_bytes(draw_picture("red", 77))
        return ["blue/blue-0.png", "red/red-0.png"]

    def test_they_stop_it_by_name(self, indexed: Path, own_pictures: Path, better: Bundle) -> None:
        before = answers_of(indexed)
        lost = self.lose(own_pictures)
        with pytest.raises(OriginalMissingError, match="2 items can not be encoded again") as caught:
            swap(own_pictures, better, indexed)
        assert all(key in str(caught.value) for key in (*lost, "--drop-missing"))
        assert answers_of(indexed) == before
        write_drawn_pictures(own_pictures)  # they are brought back
        assert swap(own_pictures, better, indexed).encoded == 2  # the others are there already

    def test_or_their_items_go(self, indexed: Path, own_pictures: Path, better: Bundle) -> None:
        lost = self.lose(own_pictures)
        report = swap(own_pictures, better, indexed, drop_missing=True)
        assert (report.encoded, sorted(report.dropped)) == (22, lost)
        assert len(items_of(indexed)) == 22
        assert not set(lost) & set(items_of(indexed))

    @pytest.mark.parametrize("empty", [True, False])
    def test_a_source_that_is_not_mounted_costs_nothing(
        self, indexed: Path, own_pictures: Path, better: Bundle, empty: bool
    ) -> None:
        """Not even with --drop-missing: `rollback` and another source's build come this way, too."""
        before = items_of(indexed)
        shutil.move(own_pictures, own_pictures.with_name("elsewhere"))
        if empty:
            own_pictures.mkdir()
        layout = Layout(indexed)
        with CatalogWriter(layout.catalog) as catalog, pytest.raises(OriginalMissingError, match="missing or empty"):
            build_generation(layout, catalog, better, "flat", EncodingPlan(threads=2, drop_missing=True))
        assert items_of(indexed) == before

    def test_one_that_is_removed_meanwhile_stops_nothing(
        self, indexed: Path, own_pictures: Path, better: Bundle
    ) -> None:
        lost = self.lose(own_pictures)

        def remove() -> None:
            with editing(indexed) as editor:
                editor.remove(lost)

        assert swap(own_pictures, better, indexed, on_progress=at(24, remove)).dropped == ()
        assert len(items_of(indexed)) == 22


def test_encoders_of_the_active_model_are_opened_once(indexed: Path, own_pictures: Path, better: Bundle) -> None:
    """An editor that lives on through a swap writes for the new model."""
    layout = Layout(indexed)
    with CatalogWriter(layout.catalog) as catalog:
        editor = IndexEditor(layout, catalog, threads=1)
        editor.add_bytes(SourcePicture("one", None, Path("none")), draw_picture("white", 50))
        swap(own_pictures, better, indexed)
        editor.add_bytes(SourcePicture("two", None, Path("none")), draw_picture("white", 51))
        assert not catalog.pictures_without_vector(catalog.active_generation())
    assert fields_of(indexed)["two"][0] is None
