"""The folder's paths are the documented ones, and a file is put there whole, in the order that outlives a power cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from index.layout import Layout, sync_path, write_whole

HASH = "abcd" + 60 * "0"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every path that was synced, in order."""
    paths: list[Path] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return paths


def test_paths_are_the_documented_ones() -> None:
    layout = Layout(Path("x"))
    assert layout.catalog == Path("x/catalog.sqlite")
    assert layout.current == Path("x/CURRENT")
    assert layout.original(HASH).parent == Path("x/originals/ab")
    assert layout.original(HASH).name.startswith(HASH)
    assert layout.thumbnail(HASH) == Path(f"x/thumbnails/ab/{HASH}.jpg")
    assert layout.generation("g") == Path("x/generations/g")
    assert layout.model("g") == Path("x/generations/g/model")
    assert layout.vectors("g") == Path("x/generations/g/vectors.f32")


def test_a_catalogue_makes_an_index(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.catalog.mkdir()
    assert not layout.is_index()
    layout.catalog.rmdir()
    layout.catalog.touch()
    assert layout.is_index()


def test_writes_whole_and_for_everyone_to_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_durable_syncs_the_file_before_its_name(tmp_path: Path, synced: list[Path]) -> None:
    write_whole(tmp_path / "file", b"x")
    assert [path.name.startswith(".file-") for path in synced] == [True, False]
    assert synced[1] == tmp_path


def test_not_durable_syncs_nothing(tmp_path: Path, synced: list[Path]) -> None:
    write_whole(tmp_path / "file", b"x", durable=False)
    assert (tmp_path / "file").read_bytes() == b"x"
    assert synced == []


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_syncs_files_and_folders(tmp_path: Path, synced: list[Path]) -> None:
    (tmp_path / "file").touch()
    sync_path(tmp_path / "file")
    sync_path(tmp_path)
    assert synced == [tmp_path / "file", tmp_path]
