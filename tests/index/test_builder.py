"""Builds: what goes in, what is skipped and said, and that a kill anywhere costs nothing but time."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.builder import BuildPlan, build_index, find_complete_source
from index.bundle import Bundle, read_bundle
from index.catalog import Catalog
from index.creation import building, create_index
from index.encoder import Encoder
from index.errors import (
    BundleError,
    IndexBusyError,
    IndexExistsError,
    ModelMismatchError,
    SourceError,
    UsageError,
    VectorError,
)
from index.images import ImageLimits
from index.layout import Layout
from index.searcher import Searcher
from index.sources import read_source
from index.synchronise import SyncReport
from index.types import Item
from index.writer import IndexWriter
from tests.drawn_pictures import write_drawn_pictures
from tests.indexed_pictures import answers_of, check_in_step
from tests.tiny_model import write_tiny_bundle
from tests.vector_gallery import answers, expect

ROOT = Path(__file__).parents[2]


def build(source: Path, bundle: Bundle, folder: Path, *, threads: int = 2) -> SyncReport:
    report = build_index(read_source(source), bundle, folder, BuildPlan(threads)).synchronised
    assert report is not None
    return report


def items_of(folder: Path) -> list[Item]:
    """All items, by id."""
    with Catalog(Layout(folder).catalog) as catalog:
        return sorted(catalog.items_of_pictures(range(1, 10_000)).values(), key=lambda item: item.id)


class StopError(Exception):
    """A build is stopped here."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`stop_after(n, source, bundle, folder)`: build in batches of 4, and be stopped after n pictures."""

    def stop(count: int, source: Path, bundle: Bundle, folder: Path) -> None:
        def on_progress(done: int, total: int) -> None:
            if done == count:
                raise StopError

        with monkeypatch.context() as patch:
            patch.setattr("index.synchronise._BATCH", 4)
            with pytest.raises(StopError):
                build_index(read_source(source), bundle, folder, BuildPlan(threads=1), on_progress)

    return stop


class TestWhatGoesIn:
    def test_a_folder(self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path, tiny_encoder: Encoder) -> None:
        shutil.copy(own_pictures / "red" / "red-0.png", own_pictures / "top.png")
        (own_pictures / "red" / "deep").mkdir()
        shutil.copy(own_pictures / "red" / "red-2.png", own_pictures / "red" / "deep" / "Ü.PNG")
        folder = tmp_path / "index"
        assert build(own_pictures, tiny_bundle, folder) == SyncReport(added=26)
        labels = {item.key: item.label for item in items_of(folder)}
        assert len(labels) == 26
        assert labels["top.png"] is None
        assert labels["red/deep/Ü.PNG"] == "red/deep"
        assert labels["blue/blue-1.jpg"] == "blue"
        vectors = {
            item.id: tiny_encoder.encode_bytes((own_pictures / item.key).read_bytes()) for item in items_of(folder)
        }
        with Searcher(folder) as searcher:
            for query in vectors.values():
                found = searcher.search(query, 26, model=tiny_bundle.manifest.model_id)
                assert answers(found) == expect(vectors, query, 26)

    def test_a_manifest(self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path) -> None:
        manifest = tmp_path / "list.csv"
        away = drawn_pictures / "blue" / "blue-0.png"
        shutil.copy(drawn_pictures / "red" / "red-0.png", tmp_path / "a.png")
        manifest.write_text(f"path,label,key,price,note\na.png,Rot,sku-1,3.50,\n{away},,,,größer\n", encoding="utf-8")
        folder = tmp_path / "index"
        assert build(manifest, tiny_bundle, folder).added == 2
        assert items_of(folder) == [
            Item(1, "sku-1", "Rot", {"price": "3.50", "note": ""}),
            Item(2, str(away), None, {"price": "", "note": "größer"}),
        ]
        with Searcher(folder) as searcher:
            first, second = searcher.picture(1), searcher.picture(2)
            (state,) = searcher.sources()
        assert (first.root, first.path) == (str(tmp_path), "a.png")
        assert Path(str(second.root)) / str(second.path) == away
        assert first.content_hash == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
        assert (state.name, state.listed, state.complete) == (str(manifest), 2, True)

    def test_the_folder_is_the_documented_one(self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path) -> None:
        folder = tmp_path / "index"
        build(drawn_pictures, tiny_bundle, folder)
        name = f"0001-{tiny_bundle.manifest.model_id[:8]}"
        assert (folder / "CURRENT").read_text() == f"{name}\n"
        assert read_bundle(folder / "generations" / name / "model").manifest == tiny_bundle.manifest
        snapshots = [path.name for path in (folder / "generations" / name).glob("snapshot-*")]
        assert {Path(file).suffix for file in snapshots} == {".faiss", ".entries"}
        assert sorted(path.name for path in (folder / "generations" / name).iterdir()) == sorted(
            ["manifest.json", "model", "vectors.f32", *snapshots]
        )
        hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in drawn_pictures.rglob("*.*")}
        thumbnails = {path.relative_to(folder).as_posix() for path in folder.glob("thumbnails/*/*")}
        assert thumbnails == {f"thumbnails/{digest[:2]}/{digest}.jpg" for digest in hashes}
        assert [path.name for path in tmp_path.iterdir()] == ["index"]  # no draft beside it

    def test_threads_change_nothing(self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path) -> None:
        build(drawn_pictures, tiny_bundle, tmp_path / "one", threads=1)
        build(drawn_pictures, tiny_bundle, tmp_path / "three", threads=3)
        assert items_of(tmp_path / "one") == items_of(tmp_path / "three")
        one, three = (next((tmp_path / name).glob("generations/*/vectors.f32")) for name in ("one", "three"))
        assert one.read_bytes() == three.read_bytes()

    def test_snapshots_are_sealed_on_the_way(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever searches meanwhile finds what is in already, and the progress counts every picture once."""
        monkeypatch.setattr("index.synchronise._BATCH", 3)
        monkeypatch.setattr("index.synchronise._FIRST_SEAL", 6)
        folder = tmp_path / "index"
        steps: list[tuple[int, int]] = []
        seen: list[tuple[int, int]] = []

        def on_progress(done: int, total: int) -> None:
            steps.append((done, total))
            with Searcher(folder) as searcher:
                snapshot = searcher.snapshot()
                seen.append((searcher.info().size, snapshot.entries if snapshot else 0))

        build_index(read_source(drawn_pictures), tiny_bundle, folder, BuildPlan(threads=1), on_progress)
        assert steps == [(done, 24) for done in range(1, 25)]
        assert [size for size, _ in seen] == [done - done % 3 for done in range(1, 25)]
        assert sorted({entries for _, entries in seen}) == [0, 6, 12, 24]


class TestSkipping:
    def test_bad_files_are_skipped_and_named(self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path) -> None:
        (own_pictures / "red" / "empty.jpg").touch()
        (own_pictures / "red" / "words.png").write_text("no picture at all")
        whole = (own_pictures / "red" / "red-1.jpg").read_bytes()
        (own_pictures / "red" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        (own_pictures / "red" / "gone.png").symlink_to(own_pictures / "nowhere")
        report = build(own_pictures, tiny_bundle, tmp_path / "index")
        assert report.added == 24
        reasons = {skip.key: skip.reason for skip in report.skipped}
        assert list(reasons) == ["red/cut.jpg", "red/empty.jpg", "red/gone.png", "red/words.png"]
        assert reasons["red/cut.jpg"].startswith("the picture is truncated or corrupt")
        assert reasons["red/empty.jpg"].startswith("the picture is empty")
        assert reasons["red/gone.png"] == "can not be read: No such file or directory"
        assert reasons["red/words.png"].startswith("not a picture that can be read")
        assert len(items_of(tmp_path / "index")) == 24

    def test_limits_hold(self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path) -> None:
        Image.new("RGB", (200, 200)).save(own_pictures / "large.png")
        plan = BuildPlan(limits=ImageLimits(max_pixels=10_000))
        report = build_index(read_source(own_pictures), tiny_bundle, tmp_path / "index", plan).synchronised
        assert report is not None
        assert [skip.key for skip in report.skipped] == ["large.png"]
        assert report.skipped[0].reason.startswith("the picture has too many pixels")

    def test_a_vector_without_length_is_skipped(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encode = Encoder.encode

        def fail_on_red(encoder: Encoder, pixels: np.ndarray) -> np.ndarray:
            if pixels[0].mean() > 0 > pixels[1].mean():
                raise VectorError("the vector is not finite or has no length", where="model.onnx")
            return encode(encoder, pixels)

        monkeypatch.setattr(Encoder, "encode", fail_on_red)
        report = build(drawn_pictures, tiny_bundle, tmp_path / "index")
        assert {skip.key.split("/")[0] for skip in report.skipped} == {"red"}
        assert {skip.reason for skip in report.skipped} == {"the vector is not finite or has no length"}

    @pytest.mark.parametrize("empty_folder_first", [False, True])
    def test_nothing_but_bad_files_leaves_nothing(
        self, tmp_path: Path, tiny_bundle: Bundle, empty_folder_first: bool
    ) -> None:
        source = tmp_path / "pictures"
        source.mkdir()
        for name in ("a.jpg", "b.png"):
            (source / name).write_text("no picture")
        if empty_folder_first:
            (tmp_path / "index").mkdir()
        with pytest.raises(SourceError, match=rf"{source}: not one of 2 files could be indexed \(found not a picture"):
            build(source, tiny_bundle, tmp_path / "index")
        assert not Layout(tmp_path / "index").is_index()
        assert {path.name for path in tmp_path.iterdir()} - {"index"} == {"pictures"}
        write_drawn_pictures(source, labels=("red",))
        assert build(source, tiny_bundle, tmp_path / "index").added == 4  # and the place is free


class TestRefusals:
    def test_an_index_that_is_there(self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path) -> None:
        folder = tmp_path / "index"
        build(drawn_pictures, tiny_bundle, folder)
        before = items_of(folder)
        with pytest.raises(IndexExistsError, match="there is an index already") as caught:
            build(drawn_pictures, tiny_bundle, folder)
        assert caught.value.exit_code == 2
        assert items_of(folder) == before

    def test_an_interrupted_build_of_another_source(
        self,
        tmp_path: Path,
        tiny_bundle: Bundle,
        own_pictures: Path,
        drawn_pictures: Path,
        stop_after: Callable[..., None],
    ) -> None:
        stop_after(9, own_pictures, tiny_bundle, tmp_path / "index")
        with pytest.raises(IndexExistsError, match=f"found an index of {own_pictures}"):
            build(drawn_pictures, tiny_bundle, tmp_path / "index")

    def test_another_model_for_an_interrupted_build(
        self,
        tmp_path: Path,
        tiny_bundle: Bundle,
        make_tiny_bundle: Callable[..., Bundle],
        own_pictures: Path,
        stop_after: Callable[..., None],
    ) -> None:
        stop_after(9, own_pictures, tiny_bundle, tmp_path / "index")
        other = make_tiny_bundle(tmp_path / "other", seed=1)
        with pytest.raises(ModelMismatchError, match="the interrupted build used another model"):
            build(own_pictures, other, tmp_path / "index")
        assert len(items_of(tmp_path / "index")) == 8

    def test_something_else_in_the_way(self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        for place, found in ((tmp_path, "a folder with other content"), (tmp_path / "notes.txt", "a file")):
            with pytest.raises(UsageError, match=f"something else is where the index should go .*found {found}"):
                build(drawn_pictures, tiny_bundle, place)
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_two_builds_at_once(self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path) -> None:
        layout = Layout(tmp_path / "index")
        create_index(layout, tiny_bundle)
        with building(layout), pytest.raises(IndexBusyError, match="another process is building this index"):
            build(drawn_pictures, tiny_bundle, layout.folder)
        assert build(drawn_pictures, tiny_bundle, layout.folder).added == 24

    def test_two_builds_that_begin_at_once(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both find no index; the one that comes second with its folder is told so, and harms nothing."""
        folder = tmp_path / "index"
        draw = Path.rename

        def rename_late(path: Path, target: Path) -> Path:
            monkeypatch.undo()
            build(drawn_pictures, tiny_bundle, folder)
            return draw(path, target)

        monkeypatch.setattr(Path, "rename", rename_late)
        with pytest.raises(IndexBusyError, match="another process made this index meanwhile"):
            build(drawn_pictures, tiny_bundle, folder)
        assert len(items_of(folder)) == 24
        assert [path.name for path in tmp_path.iterdir()] == ["index"]

    def test_a_damaged_bundle_makes_no_index(
        self, tmp_path: Path, make_tiny_bundle: Callable[..., Bundle], drawn_pictures: Path
    ) -> None:
        bundle = make_tiny_bundle(tmp_path / "bundle")
        bundle.model_path.write_bytes(bundle.model_path.read_bytes()[:-1])
        with pytest.raises(BundleError):
            build(drawn_pictures, bundle, tmp_path / "index")
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


class TestGoingOn:
    def test_after_a_stop(
        self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path, stop_after: Callable[..., None]
    ) -> None:
        folder = tmp_path / "index"
        (own_pictures / "a-bad.png").write_text("no picture")
        source = read_source(own_pictures)
        stop_after(15, own_pictures, tiny_bundle, folder)
        assert find_complete_source(Layout(folder), source.name) is None
        steps: list[int] = []
        report = build_index(source, tiny_bundle, folder, None, lambda done, total: steps.append(done)).synchronised
        assert report is not None
        assert (report.added, report.kept, [skip.key for skip in report.skipped]) == (12, 12, ["a-bad.png"])
        assert steps == list(range(1, 26))
        state = find_complete_source(Layout(folder), source.name)
        assert state is not None
        assert state.listed == 25
        check_in_step(folder, own_pictures, tiny_bundle, tmp_path / "whole")

    def test_a_source_that_changed_meanwhile(
        self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path, stop_after: Callable[..., None]
    ) -> None:
        stop_after(9, own_pictures, tiny_bundle, tmp_path / "index")
        done = items_of(tmp_path / "index")
        assert len(done) == 8
        for item in done[:3]:
            (own_pictures / item.key).unlink()
        (own_pictures / done[3].key).rename(own_pictures / "moved.png")
        report = build(own_pictures, tiny_bundle, tmp_path / "index")
        assert report == SyncReport(added=16, kept=4, moved=1, removed=3)
        check_in_step(tmp_path / "index", own_pictures, tiny_bundle, tmp_path / "whole")

    def test_a_stop_before_the_first_picture(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create_index(Layout(tmp_path / "index"), tiny_bundle)
        assert build(drawn_pictures, tiny_bundle, tmp_path / "index").added == 24

    def test_a_failing_disk_ends_the_build_and_it_goes_on_later(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(writer: IndexWriter, writes: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(IndexWriter, "apply", fail)
            with pytest.raises(OSError, match="No space"):
                build(drawn_pictures, tiny_bundle, tmp_path / "index")
        assert build(drawn_pictures, tiny_bundle, tmp_path / "index").added == 24

    def test_no_index_has_no_source(self, tmp_path: Path) -> None:
        assert find_complete_source(Layout(tmp_path), "x") is None


class TestDecisions:
    """What `index build` does with an index that is there, beyond `test_synchronise` and `test_generations`."""

    def test_a_recipe_for_a_new_index_and_for_an_update(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path
    ) -> None:
        source, folder = read_source(drawn_pictures), tmp_path / "index"
        build_index(source, tiny_bundle, folder, BuildPlan(1, recipe="hnsw"))
        with Searcher(folder) as searcher:
            snapshot = searcher.snapshot()
            assert searcher.generation.recipe == "hnsw"
            assert snapshot is not None
            assert snapshot.recipe.startswith("HNSW")
        build_index(source, tiny_bundle, folder, BuildPlan(1, update=True, recipe="flat"))
        with Searcher(folder) as searcher:
            snapshot = searcher.snapshot()
            assert snapshot is not None
            assert snapshot.recipe == "Flat"

    def test_a_recipe_that_is_none_makes_no_index(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path
    ) -> None:
        with pytest.raises(UsageError):
            build_index(read_source(drawn_pictures), tiny_bundle, tmp_path / "index", BuildPlan(recipe="nonsense"))
        assert list(tmp_path.iterdir()) == []

    def test_an_update_of_an_index_that_is_not_there_builds_it(
        self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path
    ) -> None:
        report = build_index(read_source(drawn_pictures), tiny_bundle, tmp_path / "index", BuildPlan(1, update=True))
        assert report.synchronised == SyncReport(added=24)

    def test_another_model_reads_the_pictures_where_they_lie_now(
        self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path
    ) -> None:
        folder, better = tmp_path / "index", write_tiny_bundle(tmp_path / "better", seed=1)
        build(own_pictures, tiny_bundle, folder)
        shutil.move(own_pictures, tmp_path / "mounted")
        source = read_source(own_pictures, tmp_path / "mounted")
        swapped = build_index(source, better, folder, BuildPlan(1)).swapped
        assert swapped is not None
        assert swapped.encoded == 24
        build(tmp_path / "mounted", better, tmp_path / "fresh")
        assert answers_of(folder) == answers_of(tmp_path / "fresh")
