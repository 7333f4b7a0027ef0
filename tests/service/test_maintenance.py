"""Housekeeping of a running service: seals by itself, heals what is derived, and never ends a search."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.layout import Layout
from index.searcher import Searcher
from service.maintenance import Maintenance
from tests.vector_gallery import add_rows, answers, draw_rows, generation_of, make_index, seal

EVERY = 0.02  # seconds
ROWS = draw_rows(1200)


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """An index of 100 items, sealed."""
    layout = make_index(tmp_path / "index", tiny_bundle)
    add_rows(layout, ROWS[:100])
    seal(layout)
    return layout


@pytest.fixture
def searcher(layout: Layout) -> Iterator[Searcher]:
    with Searcher(layout.folder) as searcher:
        yield searcher


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(EVERY)


def test_seals_when_enough_has_changed_and_not_before(layout: Layout, searcher: Searcher) -> None:
    with Maintenance(searcher, EVERY):
        add_rows(layout, ROWS[100:200], prefix="few")
        time.sleep(5 * EVERY)
        assert searcher.unsealed() == (100, 0)
        add_rows(layout, ROWS[200:], prefix="many")
        wait_until(lambda: searcher.unsealed() == (0, 0))
    snapshot = searcher.snapshot()
    assert snapshot is not None
    assert snapshot.pictures == 1200


@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_heals_a_snapshot_while_searches_are_exact(layout: Layout, damage: str) -> None:
    path = next(layout.generation(generation_of(layout).name).glob("snapshot-*.faiss"))
    with Searcher(layout.folder) as before:
        expected = answers(before.search(ROWS[7], 10, model=before.generation.model_id))
    if damage == "flip":
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    with Searcher(layout.folder) as searcher:
        assert searcher.distrusts_snapshot()
        assert answers(searcher.search(ROWS[7], 10, model=searcher.generation.model_id)) == expected
        with Maintenance(searcher, EVERY):
            wait_until(lambda: not searcher.distrusts_snapshot())
        assert answers(searcher.search(ROWS[7], 10, model=searcher.generation.model_id)) == expected


def test_says_once_what_it_can_not_do_and_goes_on(
    layout: Layout, searcher: Searcher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="service.maintenance"), Maintenance(searcher, EVERY):
        shutil.move(layout.folder, layout.folder.with_name("elsewhere"))
        wait_until(lambda: bool(caplog.records))
        time.sleep(5 * EVERY)
        assert len({record.getMessage() for record in caplog.records}) == len(caplog.records)
        shutil.move(layout.folder.with_name("elsewhere"), layout.folder)
        add_rows(layout, ROWS[100:], prefix="later")
        wait_until(lambda: searcher.unsealed() == (0, 0))
