"""A restore checks every byte first, and leaves nothing where it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from index.backup import back_up
from index.bundle import Bundle
from index.catalog import Catalog
from index.errors import IndexDataError, UsageError
from index.layout import Layout
from index.restore import restore
from index.verification import verify_index
from tests.small_index import make_small_index


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Path:
    """A backup. Read only."""
    folder = tmp_path_factory.mktemp("made")
    layout = make_small_index(folder / "index", tiny_bundle, folder / "source")
    with Catalog(layout.catalog) as catalog:
        back_up(layout, catalog, folder / "backup")
    return folder / "backup"


@pytest.fixture
def backup(made: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "backup"))


def refuse(backup: Path, target: Path, message: str) -> None:
    with pytest.raises(IndexDataError, match=message):
        restore(backup, Layout(target))
    assert [path.name for path in target.parent.iterdir()] == ["backup"]


def test_one_flipped_bit_in_any_file_is_refused_by_name(backup: Path, tmp_path: Path) -> None:
    paths = sorted(path for path in backup.rglob("*") if path.is_file())
    assert len(paths) > 10
    for path in paths:
        data = path.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            flipped = bytearray(data)
            flipped[place] ^= 4
            path.write_bytes(flipped)
            refuse(backup, tmp_path / "index", path.name)
        path.write_bytes(data)
    assert restore(backup, Layout(tmp_path / "index")).items == 6


def test_missing_and_shortened_files_are_named(backup: Path, tmp_path: Path) -> None:
    (vectors,) = backup.rglob("vectors.f32")
    vectors.write_bytes(vectors.read_bytes()[:-4])
    refuse(backup, tmp_path / "index", "vectors.f32: a file of the backup is not the one that was written")
    vectors.unlink()
    refuse(backup, tmp_path / "index", "vectors.f32: a file of the backup is missing")


def test_file_that_the_list_does_not_name_stays_behind(backup: Path, tmp_path: Path) -> None:
    (backup / "index/stranger").write_text("?")
    restore(backup, Layout(tmp_path / "index"))
    assert not (tmp_path / "index/stranger").exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_list_that_leads_out_of_the_backup(backup: Path, tmp_path: Path, name: str) -> None:
    fields = json.loads((backup / "backup.json").read_text())
    fields["files"][name] = fields["files"].pop("CURRENT")
    (backup / "backup.json").write_text(json.dumps(fields))
    refuse(backup, tmp_path / "index", "leads out of the backup")


def test_newer_format(backup: Path, tmp_path: Path) -> None:
    fields = json.loads((backup / "backup.json").read_text())
    (backup / "backup.json").write_text(json.dumps({**fields, "format_version": 2, "new": True}))
    refuse(backup, tmp_path / "index", "format that this program does not read .*expected format 1, found format 2")


def test_target_with_something_in_it(made: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index/mine").write_text("keep me")
    with pytest.raises(UsageError, match="something else is where the index should go"):
        restore(made, Layout(tmp_path / "index"))
    assert (tmp_path / "index/mine").read_text() == "keep me"


def test_empty_folder_may_be_the_target(made: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    assert restore(made, Layout(tmp_path / "index")).items == 6


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_folder_that_is_no_backup(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=f"{name}: not a backup .*backup.json"):
        restore(tmp_path / name, Layout(tmp_path / "index"))


def test_a_restored_index_is_whole_though_rows_of_what_was_removed_are_not_in_it(backup: Path, tmp_path: Path) -> None:
    """The small index has a removal and a replacement since its snapshot: their rows are holes now."""
    restore(backup, Layout(tmp_path / "index"))
    assert [one.what for one in verify_index(Layout(tmp_path / "index")) if one.kind == "fault"] == []
