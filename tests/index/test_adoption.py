"""A bundle's newer calibration comes into an index, whole or not at all, and running searchers go by it."""

from __future__ import annotations

import fcntl
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from index import adoption
from index.adoption import adopt_manifest
from index.bundle import Bundle, read_bundle, write_calibration
from index.calibration import Calibration, parse_calibration
from index.catalog import Generation
from index.errors import IndexBusyError
from index.holding import keeping_files
from index.layout import Layout
from index.repair import repair_index
from index.searcher import Searcher
from index.types import SearchResult
from index.verification import verify_index
from tests.command_line import Output, build_command, run_json, say
from tests.faults.processes import fork, kill
from tests.index.test_verification import flip
from tests.indexed_pictures import build
from tests.tiny_model import tiny_calibration, write_tiny_bundle
from tests.vector_gallery import draw_rows, generation_of


def recalibrated() -> Calibration:
    """Another one than `tiny_calibration`."""
    fields = tiny_calibration().model_dump(mode="json")
    return parse_calibration({**fields, "knots": [[0.0, 0.5], [1.0, 0.6]]})


@pytest.fixture
def calibrated(tmp_path: Path) -> Bundle:
    """The model of `indexed`, calibrated since."""
    return write_tiny_bundle(tmp_path / "calibrated", 0, tiny_calibration())


@pytest.fixture
def searcher(indexed: Path) -> Iterator[Searcher]:
    """One that runs all the while."""
    with Searcher(indexed) as searcher:
        yield searcher


def ask(searcher: Searcher) -> SearchResult:
    return searcher.search(draw_rows(1)[0], 5, model=searcher.generation.model_id)


def check_by(calibration: Calibration | None, searcher: Searcher) -> None:
    """The probabilities are those of a calibration."""
    for match in ask(searcher).matches:
        assert match.probability == (None if calibration is None else calibration.probability(match.score))


def faults(layout: Layout) -> list[str]:
    return [one.what for one in verify_index(layout) if one.remains]


def test_a_running_searcher_goes_by_it_from_the_next_search_on(
    indexed: Path, calibrated: Bundle, own_pictures: Path, searcher: Searcher
) -> None:
    check_by(None, searcher)
    before = [(match.item, match.score) for match in ask(searcher).matches]
    assert build(own_pictures, calibrated, indexed, update=True).adopted == ("calibration",)
    check_by(tiny_calibration(), searcher)
    write_calibration(calibrated, recalibrated())
    assert build(own_pictures, read_bundle(calibrated.folder), indexed, update=True).adopted == ("calibration",)
    check_by(recalibrated(), searcher)
    assert [(match.item, match.score) for match in ask(searcher).matches] == before
    assert faults(Layout(indexed)) == []
    with Searcher(indexed) as another:
        check_by(recalibrated(), another)


def test_another_index_at_the_path_has_its_own(
    indexed: Path, calibrated: Bundle, own_pictures: Path, searcher: Searcher
) -> None:
    """A restore in place, say: the generation's name is the same."""
    check_by(None, searcher)
    indexed.rename(indexed.with_name("old"))
    build(own_pictures, calibrated, indexed)
    check_by(tiny_calibration(), searcher)


def test_what_the_bundle_does_not_say_stays(
    indexed: Path, calibrated: Bundle, tiny_bundle: Bundle, own_pictures: Path, searcher: Searcher
) -> None:
    build(own_pictures, calibrated, indexed, update=True)
    manifest = searcher.read_bundle().folder / "manifest.json"
    before = manifest.stat().st_ino
    for bundle in (tiny_bundle, calibrated):
        assert build(own_pictures, bundle, indexed, update=True).adopted == ()
    assert manifest.stat().st_ino == before
    check_by(tiny_calibration(), searcher)


def test_said_on_the_command_line(indexed: Path, calibrated: Bundle, own_pictures: Path, capsys: Output) -> None:
    command = build_command(own_pictures, calibrated, indexed, "--update")
    assert "the bundle's calibration taken over" in say(capsys, *command)
    assert run_json(capsys, *command)["adopted"] == []


def test_who_uses_the_generation_still_keeps_it(
    indexed: Path, calibrated: Bundle, own_pictures: Path, searcher: Searcher
) -> None:
    """The lock is on the generation's manifest: it stays that file."""
    ask(searcher)
    build(own_pictures, calibrated, indexed, update=True)
    layout = Layout(indexed)
    path = layout.generation(generation_of(layout).name) / "manifest.json"
    with path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_not_while_the_index_is_copied(
    indexed: Path, calibrated: Bundle, own_pictures: Path, searcher: Searcher
) -> None:
    with keeping_files(Layout(indexed)), pytest.raises(IndexBusyError, match="was not taken over"):
        build(own_pictures, calibrated, indexed, update=True)
    check_by(None, searcher)
    assert faults(Layout(indexed)) == []


class StopError(Exception):
    """It is killed here."""


@pytest.fixture(params=[("write_whole", 1), ("write_whole", 2), ("write_description", 1), ("sync_path", 1)])
def stopped(request: pytest.FixtureRequest, indexed: Path, calibrated: Bundle, own_pictures: Path) -> Layout:
    """An index at which an adoption was killed before one of its steps."""
    name, wanted = request.param
    step: Callable[..., Any] = getattr(adoption, name)
    calls = 0

    def stop(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == wanted:
            raise StopError
        return step(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adoption, name, stop)
        with pytest.raises(StopError):
            build(own_pictures, calibrated, indexed, update=True)
    return Layout(indexed)


def test_killed_anywhere_it_is_no_fault_and_the_next_one_ends_it(
    stopped: Layout, calibrated: Bundle, own_pictures: Path, searcher: Searcher
) -> None:
    assert faults(stopped) == []
    build(own_pictures, calibrated, stopped.folder, update=True)
    check_by(tiny_calibration(), searcher)
    assert [one.what for one in verify_index(stopped)] == []


def test_killed_anywhere_a_repair_ends_it(stopped: Layout) -> None:
    assert not any(one.remains for one in repair_index(stopped))
    assert [one.what for one in verify_index(stopped)] == []


def test_killed_anywhere_a_changed_byte_is_still_found(stopped: Layout) -> None:
    model = stopped.model(generation_of(stopped).name)
    path = model / "manifest.json"
    place = path.read_bytes().index(b'"weights": "random') + len('"weights": "rando')
    flip(path, place, 1)
    assert json.loads(path.read_bytes())
    assert "the bundle's manifest is not the one that the generation names" in faults(stopped)
    assert any(one.remains for one in repair_index(stopped))
    assert faults(stopped) != []


def test_what_one_that_was_killed_as_it_wrote_left_is_noted_and_goes(
    indexed: Path, calibrated: Bundle, own_pictures: Path
) -> None:
    layout = Layout(indexed)
    left = layout.model(generation_of(layout).name) / ".manifest.json-x1"
    left.write_bytes(b"half")
    assert [(one.kind, one.where) for one in verify_index(layout)] == [("note", str(left))]
    build(own_pictures, calibrated, indexed, update=True)
    assert verify_index(layout) == []


def adopt_on(layout: Layout, generation: Generation, bundles: Sequence[Bundle]) -> None:
    """One after the other, until this process is killed."""
    while True:
        for bundle in bundles:
            adopt_manifest(layout, generation, bundle)


def test_killed_for_real_it_is_the_old_one_or_the_new(indexed: Path, calibrated: Bundle, tmp_path: Path) -> None:
    layout, chance, interrupted = Layout(indexed), random.Random(1), 0
    generation, report = generation_of(layout), tmp_path / "report"
    bundles = [calibrated, write_tiny_bundle(tmp_path / "again", 0, recalibrated())]
    for _ in range(20):
        process = fork(lambda: adopt_on(layout, generation, bundles), report)
        time.sleep(0.01 + 0.05 * chance.random())
        assert kill(process), report.read_text()
        interrupted += (layout.model(generation.name) / "adopting.json").exists()
        with Searcher(indexed) as searcher:
            known = searcher.read_bundle().calibration
            assert known in (None, tiny_calibration(), recalibrated())
            check_by(known, searcher)
    assert interrupted
    assert faults(layout) == []
    for bundle in bundles:
        adopt_manifest(layout, generation, bundle)
    assert verify_index(layout) == []
