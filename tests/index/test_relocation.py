"""Pictures that lie elsewhere now: found there, without being encoded; and a wrong folder is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from index.builder import BuildPlan, build_index
from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.errors import OriginalMissingError, SourceError, UsageError
from index.images import ImageLimits
from index.layout import Layout
from index.originals import read_original
from index.relocation import find_only_source, relocate
from index.searcher import Searcher
from index.sources import read_source
from tests.drawn_pictures import draw_picture, write_drawn_pictures


@pytest.fixture
def moved(tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path) -> tuple[Layout, Path, Path]:
    """An index, the folder it was built from, and where that has been moved to."""
    build_index(read_source(own_pictures), tiny_bundle, tmp_path / "index", BuildPlan(threads=1))
    own_pictures.rename(tmp_path / "moved")
    return Layout(tmp_path / "index"), own_pictures, tmp_path / "moved"


def count_originals(layout: Layout) -> int:
    """How many items' pictures are found and are what was indexed."""
    with Searcher(layout.folder) as searcher:
        items = list(searcher.iterate_items())
        return sum(bool(read_original(layout, searcher.picture(item.id), ImageLimits()).data) for item in items)


def test_update_takes_the_new_root_and_encodes_nothing(moved: tuple[Layout, Path, Path], tiny_bundle: Bundle) -> None:
    layout, source, now = moved
    with pytest.raises(OriginalMissingError):
        count_originals(layout)
    report = build_index(read_source(source, now), tiny_bundle, layout.folder, BuildPlan(threads=1, update=True))
    assert report.synchronised is not None
    assert (report.synchronised.kept, report.synchronised.added, report.synchronised.removed) == (24, 0, 0)
    assert count_originals(layout) == 24


def test_another_model_reads_the_pictures_from_the_new_root(
    moved: tuple[Layout, Path, Path], make_tiny_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    layout, source, now = moved
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    report = build_index(read_source(source, now), other, layout.folder, BuildPlan(threads=1))
    assert report.swapped is not None
    assert report.swapped.encoded == 24


def test_relocated_source(moved: tuple[Layout, Path, Path]) -> None:
    layout, _, now = moved
    with CatalogWriter(layout.catalog) as catalog:
        moved = relocate(catalog, find_only_source(catalog), now)
        with catalog.writing():
            moved.record(catalog)
        assert [state.root for state in catalog.sources()] == [str(now)]
    assert count_originals(layout) == 24


def test_folder_without_the_pictures_is_refused(moved: tuple[Layout, Path, Path], tmp_path: Path) -> None:
    layout, source, _ = moved
    (tmp_path / "empty").mkdir()
    with CatalogWriter(layout.catalog) as catalog:
        for wrong, found in ((tmp_path / "empty", "a folder without them"), (tmp_path / "nowhere", "no such folder")):
            with pytest.raises(SourceError, match=f"{wrong.name}: holds none .*black/black-0.png, found {found}"):
                relocate(catalog, find_only_source(catalog), wrong)
        assert [state.root for state in catalog.sources()] == [str(source)]


def test_index_of_two_sources_does_not_say_which_moved(
    moved: tuple[Layout, Path, Path], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    layout, _, now = moved
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path,key\n{now}/red/red-0.png,one\n")
    build_index(read_source(manifest), tiny_bundle, layout.folder, BuildPlan(threads=1, update=True))
    with (
        CatalogWriter(layout.catalog) as catalog,
        pytest.raises(UsageError, match=r"pictures of one source .*list\.csv"),
    ):
        relocate(catalog, find_only_source(catalog), now)


def roots(layout: Layout) -> list[tuple[str, bool]]:
    """Where the sources are said to lie, and whether they were indexed whole."""
    with CatalogWriter(layout.catalog) as catalog:
        return [(state.root, state.complete) for state in catalog.sources()]


@pytest.mark.parametrize("content", ["other pictures", "no pictures"])
def test_a_wrong_root_is_never_recorded(
    moved: tuple[Layout, Path, Path], tiny_bundle: Bundle, better: Bundle, tmp_path: Path, content: str
) -> None:
    layout, source, now = moved
    wrong = tmp_path / "wrong"
    if content == "other pictures":  # of the same names
        for path in now.glob("*/*"):
            (wrong / path.parent.name).mkdir(parents=True, exist_ok=True)
            (wrong / path.relative_to(now)).write_bytes(draw_picture("white", 77))
    else:
        write_drawn_pictures(wrong / "further", ["red"], per_label=1)
    expected = OriginalMissingError if content == "other pictures" else SourceError
    with pytest.raises(expected):
        build_index(read_source(source, wrong), better, layout.folder, BuildPlan(threads=1))
    if content == "no pictures":
        with pytest.raises(SourceError, match="holds none"):  # nor does it remove all items
            build_index(read_source(source, wrong), better, layout.folder, BuildPlan(threads=1, drop_missing=True))
    assert roots(layout) == [(str(source), True)]
    report = build_index(read_source(source, now), better, layout.folder, BuildPlan(threads=1)).swapped
    assert report is not None
    assert (report.encoded, report.dropped) == (24, ())
    assert roots(layout) == [(str(now), True)]
    assert count_originals(layout) == 24


def test_an_update_of_which_nothing_can_be_read_changes_nothing(
    moved: tuple[Layout, Path, Path], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    layout, source, now = moved
    wrong = tmp_path / "wrong"
    for path in now.glob("*/*"):
        (wrong / path.parent.name).mkdir(parents=True, exist_ok=True)
        (wrong / path.relative_to(now)).write_text("a failing disk")
    with pytest.raises(SourceError, match="not one of 24 files is a picture: nothing was removed"):
        build_index(read_source(source, wrong), tiny_bundle, layout.folder, BuildPlan(threads=1, update=True))
    assert roots(layout) == [(str(source), True)]


def test_another_source_of_which_nothing_can_be_read_is_none(
    moved: tuple[Layout, Path, Path], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    layout, source, _ = moved
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_text("no picture")
    with pytest.raises(SourceError, match="not one of 1 files could be indexed"):
        build_index(read_source(tmp_path / "bad"), tiny_bundle, layout.folder, BuildPlan(threads=1, update=True))
    assert roots(layout) == [(str(source), True)]
