"""Folders that can not be written, that vanish, that lie across a network, and catalogues of other formats."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.creation import is_building
from index.errors import IndexDataError
from index.images import ImageLimits
from index.layout import Layout, find_file_system
from index.originals import read_thumbnail
from index.searcher import Searcher
from index.verification import verify_index
from tests.small_index import ask, make_small_index
from tests.vector_gallery import add_rows, apply, draw_rows, make_index, new_put

NOBODY = 65534


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """A small index of one's own."""
    return make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "pictures")


@pytest.fixture
def read_only(layout: Layout) -> Iterator[Layout]:
    """The same folder on a read-only mount, beside the one that can be written."""
    place = layout.folder.with_name("mounted")
    place.mkdir()
    done = subprocess.run(["mount", "--bind", str(layout.folder), str(place)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    yield Layout(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def leave_log(layout: Layout) -> None:
    """A removal that lies in the log alone, as after a kill."""
    with CatalogWriter(layout.catalog) as catalog:
        with catalog.writing():
            catalog.delete_item(3)
        for name in ("catalog.sqlite", "catalog.sqlite-wal"):
            shutil.copy(layout.folder / name, layout.folder / f"{name}.kept")
    for name in ("catalog.sqlite", "catalog.sqlite-wal"):
        (layout.folder / f"{name}.kept").rename(layout.folder / name)


def test_a_read_only_mount_answers(layout: Layout, read_only: Layout) -> None:
    expected = ask(layout)
    assert not (layout.folder / "catalog.sqlite-wal").exists()
    before = sorted(path.name for path in layout.folder.iterdir())
    assert ask(read_only) == expected
    assert sorted(path.name for path in layout.folder.iterdir()) == before
    assert not is_building(read_only)
    assert [one for one in verify_index(read_only) if one.kind == "fault"] == []


def test_a_read_only_mount_with_a_log_answers_from_a_copy(layout: Layout, read_only: Layout) -> None:
    leave_log(layout)
    log = (layout.folder / "catalog.sqlite-wal").read_bytes()
    assert log
    found = ask(read_only)
    assert all(item != 3 for answer in found.values() for item, _, _ in answer)
    assert (layout.folder / "catalog.sqlite-wal").read_bytes() == log
    assert not (layout.folder / "catalog.sqlite-shm").exists()
    assert found == ask(layout)  # which folds the log


def test_a_read_only_reader_sees_what_is_written_meanwhile(layout: Layout, read_only: Layout) -> None:
    with Searcher(read_only.folder) as reader:
        assert reader.info().size == 6
        with CatalogWriter(layout.catalog) as catalog:
            with catalog.writing():
                catalog.delete_item(3)
            assert reader.info().size == 5
        assert reader.info().size == 5
        with CatalogWriter(layout.catalog) as catalog, catalog.writing():
            catalog.delete_item(5)
        assert reader.info().size == 4


def test_writing_to_a_read_only_mount_is_refused_in_one_line(read_only: Layout) -> None:
    with pytest.raises(IndexDataError, match="the index can not be written") as refused:
        CatalogWriter(read_only.catalog)
    assert "\n" not in str(refused.value)


def test_a_thumbnail_is_shown_where_it_can_not_be_kept(layout: Layout, read_only: Layout) -> None:
    with Searcher(read_only.folder) as reader:
        record = reader.picture(3)
        layout.thumbnail(record.content_hash).unlink()
        assert read_thumbnail(read_only, record, ImageLimits()).data.startswith(b"\xff\xd8")
    assert not layout.thumbnail(record.content_hash).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("log", [False, True])
def test_another_user_may_search(layout: Layout, tmp_path: Path, log: bool) -> None:
    if log:
        leave_log(layout)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005 and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from index.searcher import Searcher\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "with Searcher(Path(sys.argv[1])) as s: print(s.info().size, len(s.search_item(1, 10).matches))\n"
    )
    command = [sys.executable, "-c", script, str(layout.folder), str(Path.cwd())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == (["5", "4"] if log else ["6", "5"])


def test_a_folder_that_vanishes_and_comes_back(layout: Layout) -> None:
    away = layout.folder.with_name("away")
    with Searcher(layout.folder) as reader, CatalogWriter(layout.catalog) as catalog:
        layout.folder.rename(away)
        for _ in range(2):
            with pytest.raises(IndexDataError, match="not an index"):
                reader.search_item(1, 5)
        with pytest.raises(IndexDataError, match="not an index"), catalog.writing():
            catalog.delete_item(3)
        away.rename(layout.folder)
        assert len(reader.search_item(1, 5).matches) == 5
        with catalog.writing():
            catalog.delete_item(3)
        assert len(reader.search_item(1, 5).matches) == 4


def test_another_index_at_the_same_place(tmp_path: Path, tiny_bundle: Bundle) -> None:
    first, second = make_index(tmp_path / "a", tiny_bundle), make_index(tmp_path / "b", tiny_bundle)
    model = tiny_bundle.manifest.model_id
    add_rows(first, draw_rows(5, seed=1))
    rows = draw_rows(5, seed=2)
    apply(second, [new_put(f"other-{n}", row, model) for n, row in enumerate(rows)])
    with Searcher(first.folder) as reader:
        assert reader.search(rows[0], 1, model=model).matches[0].item.key.startswith("item")
        first.folder.rename(tmp_path / "old")
        second.folder.rename(first.folder)
        found = reader.search(rows[0], 1, model=model).matches[0]
        assert found.item.key == "other-0"
        assert found.score == pytest.approx(1.0)


def test_a_folder_that_was_deleted_is_said(layout: Layout) -> None:
    with Searcher(layout.folder) as reader:
        shutil.rmtree(layout.folder)
        with pytest.raises(IndexDataError, match="no such folder"):
            reader.info()


@pytest.mark.parametrize("version", [0, 2])
def test_another_format_is_refused_in_one_line(layout: Layout, version: int) -> None:
    db = sqlite3.connect(layout.catalog)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    for kind in (Catalog, CatalogWriter):
        with pytest.raises(IndexDataError, match=f"expected format 1, found format {version}") as refused:
            kind(layout.catalog)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/data/team/index", "nfs4"),
        ("/data/local/index", "ext4"),
        ("/data", "nfs4"),
        ("/with space/index", "fuse.sshfs"),
        ("/elsewhere", "overlay"),
    ],
)
def test_the_file_system_by_a_mount_table(tmp_path: Path, folder: str, kind: str) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "overlay / overlay rw 0 0\n"
        "server:/export /data nfs4 rw,vers=4.2 0 0\n"
        "/dev/sda1 /data/local ext4 rw 0 0\n"
        "me@host:/x /with\\040space fuse.sshfs rw 0 0\n"
    )
    assert find_file_system(Path(folder), table) == kind


@pytest.mark.parametrize("opened", [CatalogWriter, Catalog, lambda path: Searcher(path.parent)])
def test_an_index_across_a_network_is_refused(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, opened: Callable[[Path], object]
) -> None:
    monkeypatch.setattr("index.layout.find_file_system", lambda *_: "nfs4")
    with pytest.raises(IndexDataError, match="must be on a local disk"):
        opened(layout.catalog)
