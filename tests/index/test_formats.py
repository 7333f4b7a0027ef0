"""An index of every released format opens, answers as it did, and takes writes; a newer one is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.additions import IndexEditor, ItemPatch
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.database import SCHEMA_VERSION
from index.errors import IndexDataError
from index.layout import Layout
from index.searcher import Searcher
from index.sources import SourcePicture
from index.verification import verify_index
from tests.drawn_pictures import draw_picture

FORMATS = Path(__file__).parents[1] / "formats"
RELEASED = sorted(path.name for path in FORMATS.glob("v*"))


@pytest.fixture(params=RELEASED)
def fixture(request: pytest.FixtureRequest) -> Path:
    """The folder of one released format."""
    return FORMATS / str(request.param)


@pytest.fixture
def layout(fixture: Path, tmp_path: Path) -> Layout:
    """A copy of its index."""
    shutil.copytree(fixture / "index", tmp_path / "index")
    return Layout(tmp_path / "index")


def ask(layout: Layout, fixture: Path) -> list[tuple[Any, list[list[object]]]]:
    """What was recorded, and what the index answers now, for each recorded vector."""
    answers = []
    with Searcher(layout.folder) as searcher:
        model = searcher.generation.model_id
        for one in json.loads((fixture / "expected.json").read_text()):
            matches = searcher.search(np.array(one["query"], np.float32), 10, model=model).matches
            found: list[list[object]] = [
                [match.item.id, match.item.key, match.item.label, match.item.metadata, match.item.version, match.score]
                for match in matches
            ]
            answers.append((one["found"], found))
    return answers


def test_every_format_up_to_this_one_is_kept() -> None:
    assert [f"v{number}" for number in range(1, SCHEMA_VERSION + 1)] == RELEASED


def test_it_answers_exactly_as_it_did(layout: Layout, fixture: Path) -> None:
    answers = ask(layout, fixture)
    assert len(answers) == 5
    assert len(answers[0][0]) == 6
    for recorded, found in answers:
        assert found == recorded


def test_it_is_whole(layout: Layout) -> None:
    assert [one for one in verify_index(layout) if one.kind == "fault"] == []


def test_it_takes_writes(layout: Layout, fixture: Path) -> None:
    with CatalogWriter(layout.catalog) as catalog:
        editor = IndexEditor(layout, catalog, threads=1)
        editor.add_bytes(SourcePicture("new", "black", Path("none")), draw_picture("black"))
        editor.update("white", ItemPatch(label="pale"))
        editor.remove(["red/red-0.png"])
        compact_index(layout, catalog)
    for recorded, found in ask(layout, fixture):
        kept = [row for row in recorded if row[1] not in ("red/red-0.png", "white")]
        assert [row for row in found if row[1] not in ("new", "white")] == kept
        assert {row[1]: row[2] for row in found}["white"] == "pale"
        assert max(int(str(row[0])) for row in found) == 8  # ids go on where they were
    assert [one for one in verify_index(layout) if one.kind == "fault"] == []


def test_a_newer_format_is_refused_in_one_line(layout: Layout) -> None:
    db = sqlite3.connect(layout.catalog)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(IndexDataError, match=f"found format {SCHEMA_VERSION + 1}.*or a newer one") as refused:
        Searcher(layout.folder)
    assert "\n" not in str(refused.value)
