"""Copying and clearing exclude each other; several may copy at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.holding import clearing, keeping_files
from index.layout import Layout


def may_clear(layout: Layout) -> bool:
    with clearing(layout) as alone:
        return alone


def test_nothing_is_cleared_while_anybody_copies(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert may_clear(layout)
    with keeping_files(layout):
        with keeping_files(layout):
            assert not may_clear(layout)
        assert not may_clear(layout)
    assert may_clear(layout)


def test_lock_goes_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), keeping_files(Layout(tmp_path)):
        raise KeyboardInterrupt
    assert may_clear(Layout(tmp_path))


@pytest.mark.parametrize("number", [13, 30])
def test_read_only_folder_can_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "open", refuse)
    with keeping_files(Layout(tmp_path)):
        assert not (tmp_path / "clear.lock").exists()


def test_full_disk_is_not_taken_for_a_read_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match="No space"), keeping_files(Layout(tmp_path)):
        pass
