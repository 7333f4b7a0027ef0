"""A backup answers exactly as the index did at its change, whatever is written, sealed or cleared away meanwhile."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import backup as backup_module
from index.archive import MANIFEST, ArchiveWriter, read_archive
from index.backup import BackupReport, back_up
from index.bundle import Bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.errors import IndexDataError, UsageError
from index.generations import EncodingPlan, build_generation
from index.layout import Layout
from index.restore import restore
from index.searcher import Searcher
from index.writer import IndexWriter
from tests.small_index import ask, make_small_index
from tests.vector_gallery import (
    Answers,
    add_rows,
    answers,
    draw_rows,
    expect,
    generation_of,
    make_index,
    new_put,
    number_rows,
    remove_items,
    seal,
)


def make_backup(layout: Layout, destination: Path) -> BackupReport:
    with Catalog(layout.catalog) as catalog:
        return back_up(layout, catalog, destination)


def bring_back(backup: Path, folder: Path) -> Layout:
    restore(backup, Layout(folder))
    return Layout(folder)


def search(layout: Layout, query: Any, k: int = 10) -> Answers:
    with Searcher(layout.folder) as searcher:
        return answers(searcher.search(query, k, model=searcher.generation.model_id))


def test_restored_index_answers_the_same(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "source")
    report = make_backup(layout, tmp_path / "backup")
    assert (report.items, report.without_picture, report.damaged) == (6, 0, ())
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    assert ask(again) == ask(layout)
    with Catalog(layout.catalog) as one, Catalog(again.catalog) as other:
        assert one.change_number() == other.change_number() == report.change_number
        assert one.all_pictures() == other.all_pictures()
        assert one.sources() == other.sources()


def test_every_file_is_under_its_digest(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "source")
    make_backup(layout, tmp_path / "backup")
    files = read_archive(tmp_path / "backup").files
    content = tmp_path / "backup" / "index"
    assert {path.relative_to(content).as_posix() for path in content.rglob("*") if path.is_file()} == set(files)
    for name, file in files.items():
        assert hashlib.sha256((content / name).read_bytes()).hexdigest() == file.digest
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {"index", MANIFEST}
    originals = [name for name in files if name.startswith("originals/")]
    assert originals
    assert all(hashlib.sha256((content / name).read_bytes()).hexdigest() == Path(name).name for name in originals)


def test_backup_can_be_written_to_once_restored(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    rows = draw_rows(20)
    add_rows(layout, rows[:10])
    make_backup(layout, tmp_path / "backup")
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    add_rows(again, rows[10:], "more")
    remove_items(again, [3])
    living = number_rows(rows)
    del living[3]
    assert search(again, rows[2]) == expect(living, rows[2], 10)
    assert search(layout, rows[2]) == expect(number_rows(rows[:10]), rows[2], 10)


@contextmanager
def churning(layout: Layout) -> Iterator[list[int]]:
    """A thread that keeps adding, removing, sealing and compacting; the numbers of batches done so far."""
    stop, batches, failures = threading.Event(), [0], list[BaseException]()
    model = generation_of(layout).model_id

    def churn() -> None:
        try:
            with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
                while not stop.is_set():
                    number = batches[0]
                    rows = draw_rows(5, seed=1000 + number)
                    writer.apply([new_put(f"batch-{number}-{one}", row, model) for one, row in enumerate(rows)])
                    for key in (f"batch-{number}-0", f"item-{number}"):
                        item = catalog.find_item(key)
                        if item is not None:
                            with catalog.writing():
                                catalog.delete_item(item.id)
                    if number % 3 == 0:
                        compact_index(layout, catalog)
                    batches[0] += 1
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        yield batches
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def test_backups_while_a_writer_keeps_writing(tmp_path: Path, tiny_bundle: Bundle) -> None:
    """The oracle is each restored catalogue: its rows must be all there, and be found where brute force finds them."""
    layout = make_index(tmp_path / "index", tiny_bundle)
    rows = draw_rows(200)
    add_rows(layout, rows)
    seal(layout)
    done: list[tuple[Path, BackupReport, int]] = []
    with churning(layout) as batches:
        for number in range(4):
            before = batches[0]
            while batches[0] == before:
                time.sleep(0.01)
            report = make_backup(layout, tmp_path / f"backup-{number}")
            done.append((tmp_path / f"backup-{number}", report, before))
    assert len({report.change_number for _, report, _ in done}) == 4
    for path, report, before in done:
        again = bring_back(path, tmp_path / f"again-{path.name}")
        living = read_living(again)
        assert len(living) == report.items
        keys = {key for key, _ in living.values()}
        assert {f"batch-{number}-{one}" for number in range(before) for one in (1, 2, 3, 4)} <= keys
        assert not {f"item-{number}" for number in range(before)} & keys
        by_id = {item: row for item, (_, row) in living.items()}
        for query in draw_rows(2, seed=5):
            assert search(again, query) == expect(by_id, query, 10)


def read_living(layout: Layout) -> dict[int, tuple[str, Any]]:
    """Item id -> key and vector, made anew from the names of the items."""
    first = {f"item-{number}": row for number, row in enumerate(draw_rows(200))}
    found = {}
    with Searcher(layout.folder) as searcher:
        for item in searcher.iterate_items():
            if item.key in first:
                row = first[item.key]
            else:
                _, batch, one = item.key.split("-")
                row = draw_rows(5, seed=1000 + int(batch))[int(one)]
            found[item.id] = (item.key, row)
    return found


def test_what_is_sealed_and_cleared_after_the_catalogue_was_copied(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: between the catalogue's copy and that of the files, all of them are replaced."""
    layout = make_index(tmp_path / "index", tiny_bundle)
    rows = draw_rows(50)
    add_rows(layout, rows)
    seal(layout)
    monkeypatch.setattr("index.compaction._GRACE", -1.0)
    copied = Catalog.copy_to
    calls: list[int] = []

    def copy_and_disturb(self: Catalog, path: Path) -> None:
        copied(self, path)
        calls.append(1)
        if len(calls) == 1:
            remove_items(layout, range(1, 26))
            with CatalogWriter(layout.catalog) as catalog:
                compact_index(layout, catalog)
                compact_index(layout, catalog)

    monkeypatch.setattr(Catalog, "copy_to", copy_and_disturb)
    report = make_backup(layout, tmp_path / "backup")
    assert len(calls) == 2  # the snapshot that the first copy named was gone
    assert report.items == 25
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    assert search(again, rows[30]) == expect(
        {id_: row for id_, row in number_rows(rows).items() if id_ > 25}, rows[30], 10
    )


def test_compaction_during_a_backup_takes_nothing_that_it_needs(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "source")
    expected = ask(layout)
    monkeypatch.setattr("index.compaction._GRACE", -1.0)
    copy_rows = backup_module._Backup._copy_rows

    def disturb(self: Any, copy: Catalog, generation: Any) -> None:
        with CatalogWriter(layout.catalog) as catalog:
            ids = [item.id for item in catalog.list_items(0, 100)]
            for id_ in ids[1:]:
                with catalog.writing():
                    catalog.delete_item(id_)
            for _ in range(3):
                add_rows(layout, draw_rows(1, seed=9), f"more-{time.monotonic_ns()}")
                compact_index(layout, catalog)
        copy_rows(self, copy, generation)

    monkeypatch.setattr(backup_module._Backup, "_copy_rows", disturb)
    report = make_backup(layout, tmp_path / "backup")
    assert (report.items, report.without_picture, report.damaged) == (6, 0, ())
    assert ask(bring_back(tmp_path / "backup", tmp_path / "again")) == expected


def test_earlier_generation_comes_along_and_an_unfinished_one_does_not(
    tmp_path: Path, tiny_bundle: Bundle, make_tiny_bundle: Callable[..., Bundle]
) -> None:
    layout = make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "source")
    plan = EncodingPlan(threads=1, drop_missing=True)
    with CatalogWriter(layout.catalog) as catalog:
        build_generation(layout, catalog, make_tiny_bundle(tmp_path / "other", seed=1), "flat", plan)
        with catalog.writing():
            catalog.insert_generation("0003-draft", "m", 16, "flat")
    expected = ask(layout)
    make_backup(layout, tmp_path / "backup")
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    with CatalogWriter(again.catalog) as catalog:
        assert [one.name[:4] for one in catalog.generations()] == ["0002", "0001"]
        assert catalog.drafts() == []
    assert ask(again) == expected
    assert again.current.read_text() == layout.current.read_text()


def test_damaged_row_is_refused_by_its_picture(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    add_rows(layout, draw_rows(5))
    path = layout.vectors(generation_of(layout).name)
    data = bytearray(path.read_bytes())
    data[3 * 64] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexDataError, match=r"rows are not what was written .*for pictures 3\)"):
        make_backup(layout, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_snapshot_that_can_not_be_trusted_is_left_out(tmp_path: Path, tiny_bundle: Bundle, damage: str) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    rows = draw_rows(30)
    add_rows(layout, rows)
    seal(layout)
    (snapshot,) = layout.folder.glob("generations/*/snapshot-*.faiss")
    if damage == "remove":
        snapshot.unlink()
    else:
        data = bytearray(snapshot.read_bytes())
        data[-1] ^= 1
        snapshot.write_bytes(data)
    make_backup(layout, tmp_path / "backup")
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    assert not list(again.folder.rglob("snapshot-*"))
    assert search(again, rows[3]) == expect(number_rows(rows), rows[3], 10)


def test_damaged_original_is_left_out_and_named(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_small_index(tmp_path / "index", tiny_bundle, tmp_path / "source")
    for path in layout.folder.glob("originals/*/*"):
        path.write_bytes(path.read_bytes()[:-1])
    report = make_backup(layout, tmp_path / "backup")
    assert report.damaged == ("blue/blue-1.jpg", "white")
    assert not list((tmp_path / "backup").rglob("originals/*/*"))


def test_removed_pictures_are_in_no_backup(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    rows = draw_rows(5)
    add_rows(layout, rows)
    remove_items(layout, [2])
    make_backup(layout, tmp_path / "backup")
    (path,) = (tmp_path / "backup").rglob("vectors.f32")
    copied = np.fromfile(path, dtype="<f4").reshape(-1, 16)
    assert not copied[2].any()
    assert np.array_equal(copied[[1, 3, 4, 5]], rows[[0, 2, 3, 4]])


def test_backup_that_fails_leaves_nothing(tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArchiveWriter, "finish", fail)
    with pytest.raises(OSError, match="No space"):
        make_backup(layout, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_imported_items_have_no_picture_to_copy(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    add_rows(layout, draw_rows(5))
    assert make_backup(layout, tmp_path / "backup").without_picture == 5


def test_nothing_is_overwritten(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    (tmp_path / "backup").mkdir()
    with pytest.raises(UsageError, match="something is there already"):
        make_backup(layout, tmp_path / "backup")
