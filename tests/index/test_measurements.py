"""Measurements: only for who listens, and only where they listen."""

from __future__ import annotations

import threading
import time

import pytest

from index.measurements import note_value, observing, timing


def test_a_stage_is_measured_for_who_listens() -> None:
    seen: list[tuple[str, float]] = []
    with observing(lambda name, value: seen.append((name, value))):
        with timing("encode"):
            time.sleep(0.02)
        note_value("best_score", 0.5)
    with timing("encode"):
        note_value("best_score", 0.7)
    assert [name for name, _ in seen] == ["encode", "best_score"]
    assert 0.02 <= seen[0][1] < 1
    assert seen[1][1] == 0.5


def test_what_fails_is_not_measured_and_the_error_comes_through() -> None:
    seen: list[str] = []
    with observing(lambda name, value: seen.append(name)), pytest.raises(ValueError, match="inside"), timing("encode"):
        raise ValueError("inside")
    assert seen == []


def test_another_thread_does_not_hear_it() -> None:
    seen: list[str] = []
    with observing(lambda name, value: seen.append(name)):
        thread = threading.Thread(target=note_value, args=("best_score", 1.0))
        thread.start()
        thread.join()
    assert seen == []
