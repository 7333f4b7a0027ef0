"""A few kills from one seed; `python -m benchmarks.kills` has hundreds. And that the oracle sees every fault."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from index.layout import Layout
from tests.faults.gallery import Gallery
from tests.faults.inspection import inspect_index
from tests.faults.kills import run_kills
from tests.faults.oracle import Oracle
from tests.faults.plans import Operation, Planner
from tests.faults.processes import compute_apart
from tests.faults.worker import Place, operate

DIMENSIONS = 16


def test_killed_at_random_moments_an_index_loses_nothing(tmp_path: Path, gallery: Gallery) -> None:
    report = run_kills(tmp_path, gallery, 8, 1, lambda: None)
    assert report.findings == []
    assert report.kills == 8
    assert report.answers > 0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, gallery: Gallery) -> tuple[Place, Operation]:
    """A small index, and the build that made it."""
    home = tmp_path_factory.mktemp("built")
    place, planner = Place(home / "index", home / "source", home / "loose"), Planner(1)
    place.prepare(gallery)
    planner.change_files()
    [build] = planner.plan(1, first="build")
    place.write_source(gallery, build.files)
    compute_apart(lambda: operate(place, gallery, build))
    return place, build


def damage_rows(layout: Layout) -> None:
    """A row of zeros, as a lost page leaves it."""
    [path] = layout.folder.glob("generations/*/vectors.f32")
    with path.open("r+b") as file:
        file.seek(3 * 4 * DIMENSIONS)
        file.write(bytes(4 * DIMENSIONS))


def run_sql(statement: str) -> Callable[[Layout], None]:
    """A fault of the catalogue."""

    def damage(layout: Layout) -> None:
        db = sqlite3.connect(layout.catalog)
        db.execute("PRAGMA foreign_keys = ON")
        db.create_function("crc_of", -1, lambda *_: 0, deterministic=True)
        db.execute(statement)
        db.commit()
        db.close()

    return damage


FAULTS: dict[str, tuple[Callable[[Layout], None], str]] = {
    "nothing": (lambda _: None, ""),
    "zeroed": (damage_rows, "a zeroed row"),
    "missing": (run_sql("DELETE FROM items WHERE id = 3"), "missing"),
    "phantom": (run_sql("UPDATE items SET key = 'other' WHERE id = 3"), "phantom"),
    "old": (run_sql("UPDATE items SET version = 7 WHERE id = 3"), "neither old nor new"),
    "row lost": (run_sql("DELETE FROM vectors WHERE picture_id = 3"), "rows too many or too few"),
    "swapped": (
        run_sql("UPDATE pictures SET content_hash = (SELECT content_hash FROM pictures WHERE id = 5) WHERE id = 3"),
        "another picture's row",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_oracle_sees(fault: str, built: tuple[Place, Operation], gallery: Gallery, tmp_path: Path) -> None:
    place, build = built
    damage, expected = FAULTS[fault]
    copy = tmp_path / "index"
    copy_index(place.index, copy)
    damage(Layout(copy))
    faults = Oracle().judge(compute_apart(lambda: inspect_index(copy, gallery)), build.after, None)
    assert any(expected in one for one in faults) if expected else faults == []


def copy_index(origin: Path, copy: Path) -> None:
    """An index that nobody has open, as files."""
    for path in origin.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(origin)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
