"""`--update`: the index comes into step with its source, and only what is new or changed is encoded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from index.builder import BuildPlan, build_index
from index.bundle import Bundle
from index.catalog import Catalog
from index.creation import building
from index.errors import IndexBusyError, IndexDataError, ModelMismatchError, SourceError
from index.layout import Layout
from index.sources import SourcePicture, read_source
from index.synchronise import SyncReport
from index.writer import IndexWriter
from tests.drawn_pictures import draw_picture
from tests.indexed_pictures import (
    Encodes,
    build,
    check_in_step,
    contents_of,
    editing,
    fields_of,
    items_of,
    synchronise,
)
from tests.tiny_model import write_tiny_bundle
from tests.vector_gallery import seal


@pytest.fixture
def folder(tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path) -> Path:
    """An index of the 24 pictures of `own_pictures`."""
    build(own_pictures, tiny_bundle, tmp_path / "index")
    return tmp_path / "index"


def add_picture(folder: Path, key: str, data: bytes) -> None:
    """An item that no source brought."""
    with editing(folder) as editor:
        editor.add_bytes(SourcePicture(key, "added", Path("none")), data)


def write_manifest(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["path,label,key,price", *rows]) + "\n", encoding="utf-8")
    return path


class TestFolder:
    def test_nothing_new_is_nothing_done(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes
    ) -> None:
        before = items_of(folder)
        encodes.take()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(kept=24)
        assert encodes.take() == 0
        assert items_of(folder) == before  # versions, too

    def test_new_changed_and_vanished(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes, tmp_path: Path
    ) -> None:
        before = items_of(folder)
        (own_pictures / "red" / "new.png").write_bytes(draw_picture("red", 50))
        (own_pictures / "red" / "red-0.png").write_bytes(draw_picture("red", 51))
        (own_pictures / "blue" / "blue-0.png").unlink()
        encodes.take()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(added=1, replaced=1, removed=1, kept=22)
        assert encodes.take() == 2
        after = items_of(folder)
        changed = after["red/red-0.png"]
        assert (changed.id, changed.version) == (before["red/red-0.png"].id, 2)
        assert after["red/new.png"].id == 25
        check_in_step(folder, own_pictures, tiny_bundle, tmp_path / "fresh")

    def test_a_file_that_was_only_touched(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes
    ) -> None:
        (own_pictures / "red" / "red-0.png").touch()
        encodes.take()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(kept=24)
        assert encodes.take() == 0

    def test_moved_and_renamed_files_keep_their_ids(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes, tmp_path: Path
    ) -> None:
        before = items_of(folder)
        shutil.move(own_pictures / "red", own_pictures / "crimson")
        (own_pictures / "blue" / "blue-0.png").rename(own_pictures / "blue" / "sky.png")
        (own_pictures / "blue" / "blue-1.jpg").rename(own_pictures / "top.jpg")
        encodes.take()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(moved=6, kept=18)
        assert encodes.take() == 0
        after = items_of(folder)
        for old, new in (
            ("red/red-3.jpg", "crimson/red-3.jpg"),
            ("blue/blue-0.png", "blue/sky.png"),
            ("blue/blue-1.jpg", "top.jpg"),
        ):
            assert after[new].id == before[old].id
            assert old not in after
        assert after["top.jpg"].label is None
        check_in_step(folder, own_pictures, tiny_bundle, tmp_path / "fresh")

    def test_copies_are_not_encoded_again(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes, tmp_path: Path
    ) -> None:
        """One moved and two more made of it; a copy beside the one that stays; two copies, of which one vanishes."""
        before = items_of(folder)
        (own_pictures / "red" / "red-0.png").rename(own_pictures / "red" / "a.png")
        for name in ("b.png", "c.png"):
            shutil.copy(own_pictures / "red" / "a.png", own_pictures / "red" / name)
        shutil.copy(own_pictures / "blue" / "blue-0.png", own_pictures / "blue" / "again.png")
        encodes.take()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(added=3, moved=1, kept=23)
        assert encodes.take() == 0
        assert items_of(folder)["red/a.png"].id == before["red/red-0.png"].id
        (own_pictures / "red" / "b.png").unlink()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(removed=1, kept=26)
        check_in_step(folder, own_pictures, tiny_bundle, tmp_path / "fresh")

    def test_two_names_are_swapped(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes, tmp_path: Path
    ) -> None:
        """A key that stays keeps its item, which now has the other picture; no content is new, so none is encoded."""
        one, other = own_pictures / "red" / "red-0.png", own_pictures / "blue" / "blue-0.png"
        before, contents = items_of(folder), contents_of(folder)
        one.rename(own_pictures / "between")
        other.rename(one)
        (own_pictures / "between").rename(other)
        encodes.take()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(replaced=2, kept=22)
        assert encodes.take() == 0
        assert {key: item.id for key, item in items_of(folder).items()} == {
            key: item.id for key, item in before.items()
        }
        assert contents_of(folder)["red/red-0.png"] == contents["blue/blue-0.png"]
        check_in_step(folder, own_pictures, tiny_bundle, tmp_path / "fresh")

    def test_all_names_shift_by_one(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes, tmp_path: Path
    ) -> None:
        for number in (4, 3, 2, 1):
            found = sorted((own_pictures / "red").glob(f"red-{number - 1}.*"))[0]
            found.rename(own_pictures / "red" / f"red-{number}.jpg")
        encodes.take()
        synchronise(own_pictures, tiny_bundle, folder)
        assert encodes.take() == 0
        check_in_step(folder, own_pictures, tiny_bundle, tmp_path / "fresh")

    def test_a_row_that_is_not_what_was_written_is_not_copied(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes
    ) -> None:
        (path,) = folder.glob("generations/*/vectors.f32")
        with path.open("r+b") as file:  # the first picture's row
            file.seek(64)
            file.write(b"\xff" * 4)
        shutil.copy(own_pictures / "black" / "black-0.png", own_pictures / "black" / "copy.png")
        encodes.take()
        with pytest.raises(IndexDataError, match="rows are not what was written"):  # the snapshot refuses the old row
            synchronise(own_pictures, tiny_bundle, folder)
        assert encodes.take() == 1
        assert "black/copy.png" in contents_of(folder)


class TestManifest:
    def test_labels_metadata_and_keys(
        self, tmp_path: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes
    ) -> None:
        rows = [f"own_pictures/red/red-{number}.{end}" for number, end in enumerate(("png", "jpg", "png"))]
        manifest = write_manifest(tmp_path / "list.csv", *(f"{row},red,k{n},1" for n, row in enumerate(rows)))
        folder = tmp_path / "index"
        build(manifest, tiny_bundle, folder)
        write_manifest(manifest, f"{rows[0]},scarlet,k0,1", f"{rows[1]},red,k1,2.50", f"{rows[2]},red,k9,1")
        encodes.take()
        report = synchronise(manifest, tiny_bundle, folder)
        assert encodes.take() == 0
        assert report == SyncReport(edited=3)
        after = items_of(folder)
        assert {key: (item.id, item.label, item.metadata, item.version) for key, item in after.items()} == {
            "k0": (1, "scarlet", {"price": "1"}, 2),
            "k1": (2, "red", {"price": "2.50"}, 2),
            "k9": (3, "red", {"price": "1"}, 2),
        }
        check_in_step(folder, manifest, tiny_bundle, tmp_path / "fresh")

    def test_the_picture_of_a_row_lies_elsewhere(
        self, tmp_path: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes
    ) -> None:
        manifest = write_manifest(tmp_path / "list.csv", "own_pictures/red/red-0.png,red,k0,1")
        build(manifest, tiny_bundle, tmp_path / "index")
        shutil.move(own_pictures / "red" / "red-0.png", tmp_path / "away.png")
        write_manifest(manifest, "away.png,red,k0,1")
        encodes.take()
        assert synchronise(manifest, tiny_bundle, tmp_path / "index") == SyncReport(moved=1)
        assert encodes.take() == 0
        with Catalog(Layout(tmp_path / "index").catalog) as catalog:
            assert catalog.picture_of_item(1).path == "away.png"

    def test_pictures_that_lie_elsewhere_altogether(
        self, tmp_path: Path, own_pictures: Path, tiny_bundle: Bundle, folder: Path, encodes: Encodes
    ) -> None:
        """`--images-root`: the source stays the one it was, and nothing is encoded."""
        shutil.move(own_pictures, tmp_path / "mounted")
        encodes.take()
        source = read_source(own_pictures, tmp_path / "mounted")
        report = build_index(source, tiny_bundle, folder, BuildPlan(threads=1, update=True))
        assert report.synchronised == SyncReport(kept=24)
        assert encodes.take() == 0
        with Catalog(Layout(folder).catalog) as catalog:
            assert [(one.name, one.root) for one in catalog.sources()] == [
                (str(own_pictures), str(tmp_path / "mounted"))
            ]


class TestWhatIsNotTheSources:
    def test_added_items_stay(self, folder: Path, own_pictures: Path, tiny_bundle: Bundle) -> None:
        add_picture(folder, "red/from-elsewhere.png", draw_picture("red", 60))
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(kept=24)
        assert items_of(folder)["red/from-elsewhere.png"].label == "added"

    def test_another_sources_items_stay(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, tmp_path: Path
    ) -> None:
        second = tmp_path / "second"
        (second / "green").mkdir(parents=True)
        for number in (70, 71):
            (second / "green" / f"{number}.png").write_bytes(draw_picture("green", number))
        assert synchronise(second, tiny_bundle, folder) == SyncReport(added=2)
        (own_pictures / "red" / "red-0.png").unlink()
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(removed=1, kept=23)
        (second / "green" / "70.png").unlink()
        assert synchronise(second, tiny_bundle, folder) == SyncReport(removed=1, kept=1)
        assert len(items_of(folder)) == 24

    def test_a_key_that_an_added_item_has(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, encodes: Encodes
    ) -> None:
        """Each update says so, and none encodes it; with the same content there is nothing to say."""
        add_picture(folder, "red/new.png", draw_picture("red", 60))
        (own_pictures / "red" / "new.png").write_bytes(draw_picture("red", 61))
        encodes.take()
        for _ in range(2):
            report = synchronise(own_pictures, tiny_bundle, folder)
            assert [skip.key for skip in report.skipped] == ["red/new.png"]
            assert report.skipped[0].reason == "the key belongs to an item that this source did not bring"
            assert report.kept == 24
        assert encodes.take() == 0
        assert items_of(folder)["red/new.png"].label == "added"
        (own_pictures / "red" / "new.png").write_bytes(draw_picture("red", 60))
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(kept=25)

    def test_a_file_that_moves_to_a_key_which_an_added_item_has(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle
    ) -> None:
        """The added item stays, and the one whose file is no longer under its key goes."""
        add_picture(folder, "red/new.png", draw_picture("red", 60))
        (own_pictures / "red" / "red-0.png").rename(own_pictures / "red" / "new.png")
        report = synchronise(own_pictures, tiny_bundle, folder)
        assert (report.removed, report.moved, report.kept, len(report.skipped)) == (1, 0, 23, 1)
        assert "red/red-0.png" not in items_of(folder)

    def test_a_key_that_is_added_meanwhile(self, folder: Path, own_pictures: Path, tiny_bundle: Bundle) -> None:
        (own_pictures / "red" / "new.png").write_bytes(draw_picture("red", 61))

        def on_progress(done: int, total: int) -> None:
            if done == 1:
                add_picture(folder, "red/new.png", draw_picture("red", 60))

        report = synchronise(own_pictures, tiny_bundle, folder, on_progress=on_progress)
        assert [skip.key for skip in report.skipped] == ["red/new.png"]
        assert (report.added, report.kept) == (0, 24)
        assert items_of(folder)["red/new.png"].label == "added"


class TestRefusals:
    def test_an_empty_or_missing_source_removes_nothing(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle, tmp_path: Path
    ) -> None:
        before = fields_of(folder)
        shutil.move(own_pictures, tmp_path / "unmounted")
        with pytest.raises(SourceError, match="no such source"):
            synchronise(own_pictures, tiny_bundle, folder)
        own_pictures.mkdir()  # the mount point
        with pytest.raises(SourceError, match="holds no picture"):
            synchronise(own_pictures, tiny_bundle, folder)
        (own_pictures / "broken.jpg").write_text("of something else")
        with pytest.raises(SourceError, match="not one of 1 files is a picture: nothing was removed"):
            synchronise(own_pictures, tiny_bundle, folder)
        assert fields_of(folder) == before

    def test_files_that_became_unreadable_are_named_and_kept(
        self, folder: Path, own_pictures: Path, tiny_bundle: Bundle
    ) -> None:
        before = fields_of(folder)
        (own_pictures / "red" / "red-0.png").write_bytes(b"")
        cut = own_pictures / "red" / "red-1.jpg"
        cut.write_bytes(cut.read_bytes()[:200])
        gone = own_pictures / "red" / "red-2.png"
        gone.unlink()
        gone.symlink_to(own_pictures / "nowhere")
        report = synchronise(own_pictures, tiny_bundle, folder)
        assert [skip.key for skip in report.skipped] == ["red/red-0.png", "red/red-1.jpg", "red/red-2.png"]
        assert (report.kept, report.removed) == (21, 0)
        assert fields_of(folder) == before

    def test_another_model(self, folder: Path, own_pictures: Path, tmp_path: Path) -> None:
        other = write_tiny_bundle(tmp_path / "other", seed=1)
        with pytest.raises(ModelMismatchError, match=r"an update needs the index's own model .*; give --model /"):
            synchronise(own_pictures, other, folder)

    def test_while_another_process_builds(self, folder: Path, own_pictures: Path, tiny_bundle: Bundle) -> None:
        with building(Layout(folder)), pytest.raises(IndexBusyError, match="another process is building this index"):
            synchronise(own_pictures, tiny_bundle, folder)


class StopError(Exception):
    """An update is stopped here."""


class TestInterrupted:
    @pytest.mark.parametrize("batches", [0, 1, 3, 5])
    def test_an_update_that_was_stopped_goes_on(
        self,
        batches: int,
        folder: Path,
        own_pictures: Path,
        tiny_bundle: Bundle,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Between two transactions; moved, new and removed ones are then done or not. Then the source changes again."""
        for label in ("red", "green"):
            shutil.move(own_pictures / label, own_pictures / f"dark-{label}")
        shutil.rmtree(own_pictures / "white")
        for number in range(5):
            (own_pictures / f"new-{number}.png").write_bytes(draw_picture("white", 80 + number))
        apply, left = IndexWriter.apply, [batches]

        def stop(writer: IndexWriter, writes: list[object]) -> object:
            if not left[0]:
                raise StopError
            left[0] -= 1
            return apply(writer, writes)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr("index.synchronise._BATCH", 3)
            patch.setattr(IndexWriter, "apply", stop)
            with pytest.raises(StopError):
                synchronise(own_pictures, tiny_bundle, folder)
        (own_pictures / "new-0.png").unlink()
        (own_pictures / "dark-red" / "red-0.png").rename(own_pictures / "later.png")
        report = build(own_pictures, tiny_bundle, folder).synchronised  # without --update: it was interrupted
        assert report is not None
        check_in_step(folder, own_pictures, tiny_bundle, tmp_path / "fresh")

    def test_a_removal_meanwhile_is_no_phantom(self, folder: Path, own_pictures: Path, tiny_bundle: Bundle) -> None:
        """An item that is removed while its file is being moved stays removed until the next update."""
        (own_pictures / "red" / "red-0.png").rename(own_pictures / "moved.png")

        def on_progress(done: int, total: int) -> None:
            if done == total:
                with editing(folder) as editor:
                    editor.remove(["red/red-0.png"])

        assert synchronise(own_pictures, tiny_bundle, folder, on_progress=on_progress) == SyncReport(kept=23)
        assert synchronise(own_pictures, tiny_bundle, folder) == SyncReport(added=1, kept=23)
        assert len(items_of(folder)) == 24


def test_snapshots_are_sealed_once_the_delta_has_outgrown_them(
    folder: Path, own_pictures: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.synchronise._BATCH", 4)
    monkeypatch.setattr("index.synchronise._FIRST_SEAL", 8)
    sealed = seal(Layout(folder))
    assert sealed is not None
    for number in range(40):
        (own_pictures / f"new-{number:02}.png").write_bytes(draw_picture("white", 80 + number))
    sizes: list[int] = []

    def on_progress(done: int, total: int) -> None:
        with Catalog(Layout(folder).catalog) as catalog:
            snapshot = catalog.snapshot(catalog.active_generation())
        sizes.append(snapshot.pictures if snapshot else 0)

    synchronise(own_pictures, tiny_bundle, folder, on_progress=on_progress)
    assert sorted(set(sizes)) == [24, 48]
