"""A full disk, for real: a small tmpfs, filled up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.additions import IndexEditor
from index.bundle import Bundle
from index.catalog_writer import CatalogWriter
from index.errors import IndexFullError
from index.reserve import RESERVE_BYTES, give_up_reserve, keep_reserve, measure_free, require_room
from index.searcher import Searcher
from index.sources import SourcePicture
from index.verification import verify_index
from tests.drawn_pictures import draw_picture
from tests.small_disk import fill, mount_small_disk
from tests.small_index import ask, make_small_index
from tests.vector_gallery import add_rows, draw_rows, make_index


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    with mount_small_disk(tmp_path / "disk") as disk:
        yield disk


def list_files(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk(small_disk: Path, tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_small_index(small_disk / "index", tiny_bundle, tmp_path / "pictures")
    expected = ask(layout)
    fill(small_disk)
    assert measure_free(small_disk) == 0
    before = list_files(layout.folder)
    assert ask(layout) == expected  # opened anew, where not even SQLite's -shm fits
    with CatalogWriter(layout.catalog) as catalog:
        editor = IndexEditor(layout, catalog, threads=1)
        fill(small_disk)
        with pytest.raises(IndexFullError, match="the disk is full") as refused:
            editor.add_bytes(SourcePicture("new", None, Path("none")), draw_picture("black"))
        assert "\n" not in str(refused.value)
        editor.remove(["white"])
        fill(small_disk)
        editor.remove(["red/red-0.png"])  # which takes another slice of the reserve, if any
        with pytest.raises(IndexFullError):
            editor.add_bytes(SourcePicture("new", None, Path("none")), draw_picture("black"))
        assert list_files(layout.folder) - before <= {"catalog.sqlite-wal", "catalog.sqlite-shm"}
    left = {
        colour: [a for a in answer if a[1] not in ("white", "red/red-0.png")] for colour, answer in expected.items()
    }
    assert ask(layout) == left
    (small_disk / "filler").unlink()
    with CatalogWriter(layout.catalog) as catalog:
        IndexEditor(layout, catalog, threads=1).add_bytes(
            SourcePicture("new", None, Path("none")), draw_picture("black")
        )
    assert (layout.folder / "reserve").stat().st_size == RESERVE_BYTES
    assert [one for one in verify_index(layout) if one.kind == "fault"] == []


def test_a_removal_takes_the_reserve(small_disk: Path, tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_small_index(small_disk / "index", tiny_bundle, tmp_path / "pictures")
    with Searcher(layout.folder) as reader, CatalogWriter(layout.catalog) as catalog:
        fill(small_disk)
        assert (layout.folder / "reserve").stat().st_size == RESERVE_BYTES
        IndexEditor(layout, catalog, threads=1).remove(["white"])
        assert (layout.folder / "reserve").stat().st_size == RESERVE_BYTES * 7 // 8
        assert reader.info().size == 5


def test_the_reserve_takes_room_and_gives_it_back(small_disk: Path) -> None:
    free = measure_free(small_disk)
    assert keep_reserve(small_disk)
    assert keep_reserve(small_disk)
    assert free - measure_free(small_disk) == RESERVE_BYTES
    slices = [free - measure_free(small_disk) for _ in range(8) if give_up_reserve(small_disk)]
    assert slices == [RESERVE_BYTES * left // 8 for left in (7, 6, 5, 4, 3, 2, 1, 0)]
    assert not give_up_reserve(small_disk)
    fill(small_disk)
    assert not keep_reserve(small_disk)
    assert list_files(small_disk) == {"filler"}
    with pytest.raises(IndexFullError, match=r"expected 8 MiB free, found 0\.0 MiB"):
        require_room(small_disk)


def test_half_a_reserve_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "reserve").write_bytes(b"\0" * 10)
    require_room(tmp_path)
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES


def test_a_removal_is_acknowledged_where_no_snapshot_can_be_sealed(
    small_disk: Path, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    layout = make_index(small_disk / "index", tiny_bundle)
    add_rows(layout, draw_rows(1100))
    with CatalogWriter(layout.catalog) as catalog:
        fill(small_disk)
        IndexEditor(layout, catalog, threads=1).remove(["item-7"])
        assert catalog.count_items() == 1099
        assert catalog.snapshot(catalog.active_generation()) is None
    assert "no snapshot was sealed" in caplog.text
    assert not [path for path in layout.folder.glob("generations/*/*") if "snapshot" in path.name]
