"""Power cuts at random moments of a recorded run: what was synced and any part of the rest, reopened, and the oracle.

What may change here: where cuts fall. Not: that each is opened by the real code.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.copies import judge_copies
from tests.faults.disk import Acknowledged, Disk
from tests.faults.gallery import Gallery
from tests.faults.inspection import inspect_apart
from tests.faults.oracle import Oracle
from tests.faults.plans import Held, Operation, World
from tests.faults.recorded import plan_recording
from tests.faults.recording import Recording, record
from tests.faults.worker import Place, operate

_OPERATIONS = 40  # a recording
_COPIES_JUDGED = 4  # after every so many-th cut the newest backup and the index restored from it are judged, too
_GOING_ON = 4  # every so many-th index is written to after its cut, and judged again


@dataclass(frozen=True)
class CutPlan:
    """How many cuts of how many recordings."""

    cuts: int
    seed: int
    each: int = 100  # cuts of a recording
    operations: int = _OPERATIONS
    without: str | None = None  # a sync that is left out of the code


@dataclass
class CutReport:
    """What a campaign saw."""

    cuts: int = 0
    recordings: int = 0
    events: int = 0
    gone_on: int = 0
    in_flight: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def run_cuts(folder: Path, gallery: Gallery, plan: CutPlan, on_cut: Callable[[], None]) -> CutReport:
    """Record, replay whole, cut and judge, until there were enough cuts. The models must lie in `folder`."""
    report, chance = CutReport(), random.Random(plan.seed)
    while report.cuts < plan.cuts:
        seed, home = chance.randrange(2**31), folder / "home"
        operations = plan_recording(seed, plan.operations)
        recording = _record(home, seed, plan)
        report.recordings += 1
        report.events += len(recording.events)
        report.calls += recording.calls
        report.sizes += recording.sizes
        report.findings += [f"recording {seed}: {one}" for one in _compare_whole(home, recording)]
        wanted = min(plan.each, plan.cuts - report.cuts)
        _cut_recording(_Case(home, gallery, recording, operations, seed), wanted, chance, report, on_cut)
        shutil.rmtree(home)
    return report


def _record(home: Path, seed: int, plan: CutPlan) -> Recording:
    (home / "disk").mkdir(parents=True)
    command = ["-m", "tests.faults.recorded", "--home", str(home), "--seed", str(seed)]
    command += ["--operations", str(plan.operations), *(["--without", plan.without] if plan.without else [])]
    return record(command, home / "trace", home / "disk", home / "acknowledgements")


def _compare_whole(home: Path, recording: Recording) -> list[str]:
    """Whether replaying everything gives what is on the real disk, byte for byte: so nothing was written unseen."""
    disk = Disk()
    for event in recording.events:
        disk.take(event)
    disk.flush(home / "replayed")
    real, replayed = _read_tree(home / "disk"), _read_tree(home / "replayed")
    return [
        f"{name} is not what the trace says"
        for name in sorted(real.keys() | replayed.keys())
        if real.get(name) != replayed.get(name)
    ]


def _read_tree(folder: Path) -> dict[str, bytes | None]:
    """Files with their bytes, folders with None; SQLite's shared memory is no file that lasts."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.endswith("-shm")
    }


@dataclass(frozen=True, eq=False)
class _Case:
    home: Path
    gallery: Gallery
    recording: Recording
    operations: list[Operation]
    seed: int


def _choose_moments(case: _Case, wanted: int, chance: random.Random) -> list[int]:
    """Counts of events after which the power goes, ascending: half anywhere, half soon after an acknowledgement."""
    events = case.recording.events
    acknowledged = [place for place, event in enumerate(events, start=1) if isinstance(event, Acknowledged)]
    near = [min(len(events), chance.choice(acknowledged) + chance.choice([0, 0, 1, 2, 5])) for _ in range(wanted // 2)]
    return sorted(near + [chance.randrange(1, len(events) + 1) for _ in range(wanted - len(near))])


def _cut_recording(
    case: _Case, wanted: int, chance: random.Random, report: CutReport, on_cut: Callable[[], None]
) -> None:
    disk, taken, done, model = Disk(), 0, 0, None
    for moment in _choose_moments(case, wanted, chance):
        while taken < moment:
            event = case.recording.events[taken]
            disk.take(event)
            taken += 1
            if isinstance(event, Acknowledged):
                done, model = event.number, event.model
        left = case.home / "left"
        disk.cut(left, chance)
        before = case.operations[done - 1].after if done else {}
        in_flight = case.operations[done] if done < len(case.operations) else None
        kind = in_flight.kind if in_flight else "nothing"
        go_on = report.cuts % _GOING_ON == 0
        faults = _judge(case, left, Oracle(model=model), before, in_flight, go_on=go_on)
        finished = case.operations[:done] if report.cuts % _COPIES_JUDGED == 0 else []
        faults += judge_copies(left / "new", case.gallery, finished, in_flight)
        report.findings += [f"recording {case.seed}, after event {moment}, {kind}: {fault}" for fault in faults]
        report.cuts += 1
        report.gone_on += go_on
        report.in_flight[kind] += 1
        shutil.rmtree(left)
        on_cut()


def _judge(
    case: _Case, left: Path, oracle: Oracle, before: World, in_flight: Operation | None, *, go_on: bool
) -> list[str]:
    place = Place(left / "new" / "index", case.home / "source", case.home / "loose")
    found = inspect_apart(place.index, case.gallery)
    faults = oracle.judge(found, before, in_flight)
    if faults or not go_on or found.model is None:
        return faults
    held = Held("after the cut", None, None, 0, 1, source=False, path=None)
    added = Operation("add", {**oracle.world, max(oracle.world, default=0) + 1000: held}, items=(held,))
    before, oracle.world = added.after, added.after

    def write() -> None:
        for operation in (added, Operation("compact", added.after)):
            operate(place, case.gallery, operation)

    found = inspect_apart(place.index, case.gallery, write)
    return [f"after going on: {fault}" for fault in oracle.judge(found, before, None)]
