"""`add`, `update`, `remove`: what is acknowledged is on disk and found, and nothing else changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from index import additions, writer
from index.additions import AddReport, ItemPatch
from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.compaction import clear_orphans
from index.encoding import hash_content
from index.errors import BrokenImageError, ImageError, ItemNotFoundError, VectorError
from index.layout import Layout, write_once
from index.searcher import Searcher
from index.sources import Source, SourcePicture, read_source
from index.types import Item
from index.writer import EncodedPicture, IndexWriter, Outcome, Write
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import Encodes, answers_of, build, contents_of, editing, fields_of, items_of
from tests.vector_gallery import make_index


@pytest.fixture
def folder(tmp_path: Path, tiny_bundle: Bundle) -> Path:
    """An index without items."""
    return make_index(tmp_path / "index", tiny_bundle).folder


@pytest.fixture
def new(tmp_path: Path) -> Source:
    """Six pictures to be added."""
    return read_source(write_drawn_pictures(tmp_path / "new", ["red", "blue"], per_label=3))


def add(folder: Path, source: Source, *, overwrite: bool = False) -> AddReport:
    with editing(folder) as editor:
        return editor.add(source.pictures, overwrite=overwrite)


def reread(source: Source) -> Source:
    return read_source(Path(source.name))


class TestAdd:
    def test_what_was_added_answers_as_a_build_would(
        self, folder: Path, new: Source, tiny_bundle: Bundle, tmp_path: Path
    ) -> None:
        assert add(folder, new) == AddReport(added=6)
        build(Path(new.name), tiny_bundle, tmp_path / "fresh")
        assert fields_of(folder) == fields_of(tmp_path / "fresh")
        assert answers_of(folder) == answers_of(tmp_path / "fresh")
        with Searcher(folder) as searcher:
            assert searcher.sources() == []  # it is not kept in step with

    def test_the_pictures_are_copied(self, folder: Path, new: Source) -> None:
        add(folder, new)
        layout = Layout(folder)
        for picture in new.pictures:
            data = picture.path.read_bytes()
            assert layout.original(hash_content(data)).read_bytes() == data
            assert layout.thumbnail(hash_content(data)).is_file()
            picture.path.unlink()
        with Searcher(folder) as searcher:
            assert all(searcher.picture(item.id).path is None for item in items_of(folder).values())

    def test_again_is_nothing_done(self, folder: Path, new: Source) -> None:
        add(folder, new)
        before = items_of(folder)
        for overwrite in (False, True):
            assert add(folder, new, overwrite=overwrite) == AddReport(kept=6)
        assert items_of(folder) == before

    def test_other_content_under_a_key(self, folder: Path, new: Source) -> None:
        add(folder, new)
        before, contents = items_of(folder), contents_of(folder)
        (Path(new.name) / "red" / "red-0.png").write_bytes(draw_picture("red", 50))
        report = add(folder, new)
        assert (report.kept, [skip.key for skip in report.skipped]) == (5, ["red/red-0.png"])
        assert "say --replace" in report.skipped[0].reason
        assert contents_of(folder) == contents
        assert add(folder, new, overwrite=True) == AddReport(replaced=1, kept=5)
        item = items_of(folder)["red/red-0.png"]
        assert (item.id, item.version) == (before["red/red-0.png"].id, 2)
        assert contents_of(folder)["red/red-0.png"] == hash_content(draw_picture("red", 50))
        assert len(answers_of(folder)["red"]) == 6

    def test_a_sources_item_is_not_replaced(self, tmp_path: Path, tiny_bundle: Bundle, new: Source) -> None:
        build(Path(new.name), tiny_bundle, tmp_path / "built")
        (Path(new.name) / "red" / "red-0.png").write_bytes(draw_picture("red", 50))
        before = contents_of(tmp_path / "built")
        report = add(tmp_path / "built", new, overwrite=True)
        assert (report.kept, report.replaced) == (5, 0)
        assert report.skipped[0].reason.startswith("the key belongs to an item that a source brought")
        assert contents_of(tmp_path / "built") == before

    def test_bad_files_are_skipped_and_named(self, folder: Path, new: Source) -> None:
        (Path(new.name) / "empty.png").touch()
        (Path(new.name) / "words.jpg").write_text("no picture")
        report = add(folder, reread(new))
        assert (report.added, [skip.key for skip in report.skipped]) == (6, ["empty.png", "words.jpg"])
        assert report.skipped[0].reason.startswith("the picture is empty")
        assert len(list((folder / "originals").glob("*/*"))) == 6

    def test_batches_and_progress(self, folder: Path, new: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a batch wrote is found before the next begins."""
        monkeypatch.setattr("index.additions._BATCH", 4)
        seen: list[tuple[int, int, int]] = []
        with editing(folder) as editor, Searcher(folder) as searcher:
            editor.add(new.pictures, on_progress=lambda done, total: seen.append((done, total, searcher.info().size)))
        assert seen == [(4, 6, 4), (6, 6, 6)]

    def test_many_seal_themselves(self, folder: Path, new: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("index.snapshot._FEWEST", 5)
        add(folder, new)
        with Searcher(folder) as searcher:
            assert searcher.unsealed() == (0, 0)
            assert searcher.info().recall == 1.0

    def test_from_bytes(self, folder: Path, encodes: Encodes) -> None:
        picture = SourcePicture("one", "red", Path("none"), {"price": 3})
        with editing(folder) as editor:
            assert editor.add_bytes(picture, draw_picture("red")) is Outcome.ADDED
            assert editor.add_bytes(picture, draw_picture("red")) is Outcome.KEPT
            assert editor.add_bytes(picture, draw_picture("blue")) is Outcome.TAKEN
            assert editor.add_bytes(picture, draw_picture("blue"), overwrite=True) is Outcome.REPLACED
        assert items_of(folder) == {"one": Item(1, "one", "red", {"price": 3}, 2)}

    @pytest.mark.parametrize("data", [b"", b"no picture", draw_picture("red")[:90]])
    def test_bytes_that_are_no_picture(self, folder: Path, data: bytes) -> None:
        with editing(folder) as editor, pytest.raises(ImageError):
            editor.add_bytes(SourcePicture("one", None, Path("none")), data)
        assert items_of(folder) == {}
        assert not list((folder / "originals").rglob("*"))

    def test_a_vector_without_length_leaves_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise VectorError("the vector is not finite or has no length")

        monkeypatch.setattr("index.encoder.Encoder.encode", refuse)
        with editing(folder) as editor, pytest.raises(VectorError):
            editor.add_bytes(SourcePicture("one", None, Path("none")), draw_picture("red"))
        assert items_of(folder) == {}
        assert not list((folder / "originals").rglob("*"))

    def test_the_original_is_synced_before_its_transaction(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """File, its folder, and the folder that holds that one; all before the row."""
        steps: list[str] = []
        fsync = os.fsync

        def record(descriptor: int) -> None:
            steps.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), folder))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", record)
        data = draw_picture("red")
        with editing(folder) as editor:
            editor.add_bytes(SourcePicture("one", None, Path("none")), data)
        first = hashlib.sha256(data).hexdigest()[:2]
        (row,) = (place for place, step in enumerate(steps) if step.endswith("vectors.f32"))
        before = steps[:row]
        file = next(step for step in before if step.startswith(f"originals/{first}/"))
        assert before.index(file) < len(before) - 1 - before[::-1].index(f"originals/{first}")
        assert "originals" in before


class TestUpdate:
    @pytest.fixture
    def built(self, tmp_path: Path, tiny_bundle: Bundle, new: Source) -> Path:
        """An index of six pictures of a source."""
        build(Path(new.name), tiny_bundle, tmp_path / "built")
        return tmp_path / "built"

    def test_label_and_metadata(self, built: Path, encodes: Encodes) -> None:
        key = "red/red-0.png"
        before, contents = items_of(built)[key], contents_of(built)
        with editing(built) as editor:
            assert editor.update(key, ItemPatch(label="scarlet")) == Item(before.id, key, "scarlet", {}, 2)
            assert editor.update(key, ItemPatch(metadata={"n": [1]})) == Item(before.id, key, "scarlet", {"n": [1]}, 3)
            assert editor.update(key, ItemPatch(label=None)) == Item(before.id, key, None, {"n": [1]}, 4)
        assert encodes.take() == 0
        assert contents_of(built) == contents

    def test_an_item_that_is_removed_meanwhile_does_not_come_back(
        self, built: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = "red/red-0.png"
        encode = additions.encode_picture

        def remove_then_encode(*arguments: Any) -> EncodedPicture:
            with editing(built) as other:
                other.remove([key])
            return encode(*arguments)

        monkeypatch.setattr(additions, "encode_picture", remove_then_encode)
        with editing(built) as editor, pytest.raises(ItemNotFoundError):
            editor.update(key, ItemPatch(image=draw_picture("red", 50)))
        assert key not in items_of(built)

    def test_what_another_process_wrote_meanwhile_stays(self, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A label is set while the item's new picture is on its way into the index."""
        key, apply, others = "red/red-0.png", IndexWriter.apply, [ItemPatch(label="crimson")]

        def write_before(writer: IndexWriter, writes: Sequence[Write]) -> list[Outcome]:
            if others:
                other = others.pop()
                with editing(built) as editor:
                    editor.update(key, other)
            return apply(writer, writes)

        monkeypatch.setattr(IndexWriter, "apply", write_before)
        with editing(built) as editor:
            item = editor.update(key, ItemPatch(image=draw_picture("red", 50), metadata={"price": 3}))
        assert (item.label, item.metadata, item.version) == ("crimson", {"price": 3}, 3)

    def test_an_item_that_another_process_made_anew_keeps_its_fields(
        self, built: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Removed and added again, it is at version 1 as the one that was read."""
        key, apply, meanwhile = "red/red-0.png", IndexWriter.apply, [True]

        def add_anew_before(writer: IndexWriter, writes: Sequence[Write]) -> list[Outcome]:
            if meanwhile:
                meanwhile.clear()
                with editing(built) as other:
                    other.remove([key])
                    other.add_bytes(SourcePicture(key, "anew", Path(key), {"price": 3}), draw_picture("red", 51))
            return apply(writer, writes)

        monkeypatch.setattr(IndexWriter, "apply", add_anew_before)
        with editing(built) as editor:
            item = editor.update(key, ItemPatch(image=draw_picture("red", 50)))
        assert (item.label, item.metadata, item.version) == ("anew", {"price": 3}, 2)

    def test_nothing_other_is_no_new_version(self, built: Path) -> None:
        key = "red/red-0.png"
        with editing(built) as editor:
            item = editor.update(key, ItemPatch(label="red", metadata={}))
            assert editor.update(key, ItemPatch()) == item
            assert editor.update(key, ItemPatch(image=draw_picture("red", 0))) == item  # the one it has
        assert item.version == 1

    def test_a_picture(self, built: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
        key = "red/red-0.png"
        data = draw_picture("red", 50)
        before = items_of(built)[key]
        with editing(built) as editor:
            assert editor.update(key, ItemPatch(data)) == Item(before.id, key, "red", {}, 2)
            item = editor.update(key, ItemPatch(draw_picture("red", 51), "scarlet", {"n": 1}))
        assert item == Item(before.id, key, "scarlet", {"n": 1}, 3)
        same = read_source(write_drawn_pictures(tmp_path / "same", ["red", "blue"], per_label=3))
        (Path(same.name) / key).write_bytes(draw_picture("red", 51))
        build(Path(same.name), tiny_bundle, tmp_path / "fresh")
        assert answers_of(built) == answers_of(tmp_path / "fresh")
        assert Layout(built).original(hash_content(data)).is_file()

    def test_the_picture_it_has_with_another_label(self, built: Path) -> None:
        with editing(built) as editor:
            item = editor.update("red/red-0.png", ItemPatch(draw_picture("red", 0), "scarlet"))
        assert (item.label, item.version) == ("scarlet", 2)

    def test_the_source_has_the_last_word(self, built: Path, new: Source, tiny_bundle: Bundle) -> None:
        with editing(built) as editor:
            editor.update("red/red-0.png", ItemPatch(draw_picture("red", 50), "scarlet"))
        report = build(Path(new.name), tiny_bundle, built, update=True).synchronised
        assert report is not None
        assert (report.replaced, report.kept) == (1, 5)
        assert items_of(built)["red/red-0.png"].label == "red"

    def test_what_can_not_be(self, built: Path) -> None:
        before = fields_of(built)
        with editing(built) as editor:
            with pytest.raises(ItemNotFoundError, match=r"no such item .*found 'nothing'"):
                editor.update("nothing", ItemPatch(label="x"))
            with pytest.raises(BrokenImageError):
                editor.update("red/red-0.png", ItemPatch(draw_picture("red")[:90], "x"))
        assert fields_of(built) == before


class TestRemove:
    def test_all_or_none(self, folder: Path, new: Source) -> None:
        add(folder, new)
        with editing(folder) as editor:
            with pytest.raises(ItemNotFoundError, match="found 'nothing'"):
                editor.remove(["red/red-0.png", "nothing"])
            assert len(items_of(folder)) == 6
            editor.remove(["red/red-0.png", "blue/blue-1.jpg", "red/red-0.png"])
        assert set(items_of(folder)) == {"red/red-1.jpg", "red/red-2.png", "blue/blue-0.png", "blue/blue-2.png"}
        assert len(answers_of(folder)["red"]) == 4

    def test_ids_are_not_used_again(self, folder: Path, new: Source) -> None:
        add(folder, new)
        with editing(folder) as editor:
            editor.remove([picture.key for picture in new.pictures])
        assert items_of(folder) == {}
        assert add(folder, new) == AddReport(added=6)
        assert min(item.id for item in items_of(folder).values()) == 7

    def test_a_sources_item_comes_back_with_the_next_update(
        self, tmp_path: Path, tiny_bundle: Bundle, new: Source
    ) -> None:
        build(Path(new.name), tiny_bundle, tmp_path / "built")
        with editing(tmp_path / "built") as editor:
            editor.remove(["red/red-0.png"])
        report = build(Path(new.name), tiny_bundle, tmp_path / "built", update=True).synchronised
        assert report is not None
        assert (report.added, report.kept) == (1, 5)

    def test_many_seal_themselves(self, folder: Path, new: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        add(folder, new)
        monkeypatch.setattr("index.snapshot._FEWEST", 0)
        with editing(folder) as editor:
            editor.remove(["red/red-0.png"])
        with Searcher(folder) as searcher:
            assert (searcher.unsealed(), searcher.info().size) == ((0, 0), 5)


class TestClearedCopies:
    """A process that is suspended for an hour between its copy and its transaction, and a compaction meanwhile."""

    @pytest.fixture
    def suspended(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """What was cleared; the first write only is suspended."""
        cleared: list[Path] = []
        sync = writer.sync_copies

        def suspend(layout: Layout, writes: Sequence[Write]) -> writer.Copies:
            copies = sync(layout, writes)
            if not cleared:
                cleared.extend(copies)
                for path in copies:
                    os.utime(path, (0, 0))
                with CatalogWriter(layout.catalog) as catalog:
                    clear_orphans(layout, catalog)
                assert not any(path.exists() for path in cleared)
            return copies

        monkeypatch.setattr(writer, "sync_copies", suspend)
        return cleared

    def test_one_picture(self, folder: Path, suspended: list[Path]) -> None:
        data = draw_picture("red")
        with editing(folder) as editor:
            assert editor.add_bytes(SourcePicture("a", None, Path("none")), data) is Outcome.ADDED
        assert [path.read_bytes() for path in suspended] == [data]

    def test_a_batch(self, folder: Path, new: Source, suspended: list[Path]) -> None:
        assert add(folder, new) == AddReport(added=6)
        assert len(suspended) == 6
        assert all(path.is_file() for path in suspended)

    def test_another_picture(self, folder: Path, monkeypatch: pytest.MonkeyPatch, suspended: list[Path]) -> None:
        with editing(folder) as editor:
            editor.add_bytes(SourcePicture("a", None, Path("none")), draw_picture("red"))
            suspended.clear()
            editor.update("a", ItemPatch(image=draw_picture("blue")))
        assert [path.read_bytes() for path in suspended] == [draw_picture("blue")]

    def test_what_another_writer_copied_anew_is_synced_before_it_counts(
        self, folder: Path, suspended: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data, synced = draw_picture("red"), list[Path]()
        suspend, sync = writer.sync_copies, writer.sync_path

        def copy_anew(layout: Layout, writes: Sequence[Write]) -> writer.Copies:
            copies = suspend(layout, writes)
            for path in copies:
                write_once(path, data)
            synced.clear()
            return copies

        def note(path: Path) -> None:
            synced.append(path)
            sync(path)

        monkeypatch.setattr(writer, "sync_copies", copy_anew)
        monkeypatch.setattr(writer, "sync_path", note)
        with editing(folder) as editor:
            editor.add_bytes(SourcePicture("a", None, Path("none")), data)
        assert {*suspended, suspended[0].parent} <= set(synced)
