"""The disk that forgets: what must survive does, and what may be lost is lost some time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tests.faults.disk import ROOT, Disk, Event, Named, Sized, Synced, Written

FILE = 1
PAGE = 4096


def cut_often(events: Sequence[Event], folder: Path, times: int = 60) -> list[dict[str, bytes]]:
    """What cuts after all events leave: name -> content."""
    disk, chance = Disk(), random.Random(1)
    for event in events:
        disk.take(event)
    left = []
    for number in range(times):
        disk.cut(folder / str(number), chance)
        left.append({path.name: path.read_bytes() for path in (folder / str(number)).iterdir()})
    return left


def test_what_was_synced_survives_every_cut(tmp_path: Path) -> None:
    events: list[Event] = [Named(((ROOT, "a", FILE),)), Written(FILE, 0, b"x" * PAGE), Synced(FILE, 2), Synced(ROOT, 3)]
    assert all(left == {"a": b"x" * PAGE} for left in cut_often(events, tmp_path))


def test_a_name_without_its_folders_sync_may_be_lost(tmp_path: Path) -> None:
    events: list[Event] = [Named(((ROOT, "a", FILE),)), Written(FILE, 0, b"x"), Synced(FILE, 2)]
    assert {tuple(left) for left in cut_often(events, tmp_path)} == {(), ("a",)}


def test_a_write_that_began_after_the_sync_is_not_covered(tmp_path: Path) -> None:
    events: list[Event] = [Named(((ROOT, "a", FILE),)), Written(FILE, 0, b"x"), Synced(ROOT, 1), Synced(FILE, 1)]
    assert {left["a"] for left in cut_often(events, tmp_path)} >= {b"", b"x"}


def test_writes_that_were_not_synced_are_torn_by_page_and_size(tmp_path: Path) -> None:
    old, new = b"o" * 2 * PAGE, b"n" * 2 * PAGE
    events: list[Event] = [
        *(Named(((ROOT, "a", FILE),)), Synced(ROOT, 1), Written(FILE, 0, old), Synced(FILE, 3)),
        *(Written(FILE, 0, new), Sized(FILE, PAGE)),
    ]
    found = {left["a"] for left in cut_often(events, tmp_path)}
    assert {old, new[:PAGE], b"n" * PAGE + b"o" * PAGE} <= found
    assert all(set(content) <= set(b"on\0") and len(content) in {PAGE, 2 * PAGE} for content in found)


def test_a_rename_is_durable_with_the_folder_it_went_to(tmp_path: Path) -> None:
    events: list[Event] = [
        *(Named(((ROOT, "draft", FILE),)), Written(FILE, 0, b"x"), Synced(FILE, 2)),
        Named(((ROOT, "draft", None), (ROOT, "a", FILE))),
    ]
    assert {tuple(left) for left in cut_often(events, tmp_path / "before")} == {(), ("draft",), ("a",)}
    assert {tuple(left) for left in cut_often([*events, Synced(ROOT, 4)], tmp_path / "after")} == {("a",)}
