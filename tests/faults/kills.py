"""`kill -9` at random moments of every kind of write, readers beside, and the oracle after each: all from one seed.

What may change here: how long a worker lives. Not: that what follows a kill goes on with the index that it left.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.layout import Layout
from tests.faults.copies import judge_copies
from tests.faults.gallery import Gallery
from tests.faults.inspection import Observation, inspect_apart
from tests.faults.oracle import Oracle
from tests.faults.plans import Operation, Planner, World
from tests.faults.processes import Board, fork, kill, wait
from tests.faults.reader import Reading, read_on
from tests.faults.worker import Place, operate, shrink_batches

_ROUNDS = 15  # kills an index lives through; then a new one
_OPERATIONS = 20  # a round, planned
_LONGEST = 0.7  # seconds a worker lives
_BESIDE = 0.3  # of the rounds have a process beside that compacts
_PATIENCE = 30.0  # seconds for a reader's last answer


@dataclass
class KillReport:
    """What a campaign saw."""

    kills: int = 0
    rounds: int = 0
    acknowledged: int = 0  # operations
    answers: int = 0  # of readers beside
    in_flight: Counter[str] = field(default_factory=Counter)  # what was under way when killed
    beside: int = 0  # kills of a compacting process beside the writing one
    slowest: float = 0.0  # seconds in which the index was open and checked again
    findings: list[str] = field(default_factory=list)


class _Life:
    """One index, from its first build on."""

    def __init__(self, folder: Path, gallery: Gallery, seed: int) -> None:
        self.place = Place(folder / "index", folder / "source", folder / "loose")
        self.place.prepare(gallery)
        self.gallery = gallery
        self.planner = Planner(seed)
        self.chance = random.Random(seed + 1)
        self.oracle = Oracle()
        self.interrupted: str | None = None  # what the kill before cut off and is to be gone on with
        self.report = folder / "report.txt"

    def plan(self) -> list[Operation]:
        """What the next worker is to do: first what was interrupted, or what a change of the source asks for."""
        first, self.planner.world = self.interrupted, self.oracle.world
        if not self.planner.files or (first is None and self.chance.random() < 0.4):
            self.planner.change_files()
            first = "build"
        operations = self.planner.plan(_OPERATIONS, first=first)
        self.place.write_source(self.gallery, tuple(sorted(self.planner.files.items())))
        return operations

    def clear_copies(self) -> None:
        """Backups and restored indexes that were judged."""
        for path in self.place.index.parent.glob("restored-*"):
            shutil.rmtree(path)

    def take_report(self) -> list[str]:
        """What the children had to say."""
        if not self.report.exists():
            return []
        text = self.report.read_text(encoding="utf-8")
        self.report.unlink()
        return [text]


def run_kills(folder: Path, gallery: Gallery, kills: int, seed: int, on_kill: Callable[[], None]) -> KillReport:
    """Kill workers until `kills` were killed at work."""
    report, chance = KillReport(), random.Random(seed)
    while report.kills < kills:
        home = folder / "life"
        life = _Life(home, gallery, chance.randrange(2**31))
        for _ in range(_ROUNDS):
            if report.kills < kills and _run_round(life, report):
                on_kill()
        shutil.rmtree(home)
    return report


def _run_round(life: _Life, report: KillReport) -> bool:
    """Work, kill, reopen, judge; whether the worker was killed at work."""
    operations, board, resumed = life.plan(), Board(), life.interrupted is not None
    killed = _let_work(life, operations, board, report)
    done = board.read("acknowledged")
    before = operations[done - 1].after if done else life.oracle.world
    in_flight = operations[done] if done < len(operations) else None
    kind = in_flight.kind if in_flight else "nothing"
    if done:
        life.oracle.model = board.read("model")
    life.interrupted = (
        kind if kind == "build" or (kind in {"rebuild", "rollback"} and life.chance.random() < 0.7) else None
    )
    faults = life.oracle.judge(_inspect(life, report), before, in_flight) + life.take_report()
    faults += judge_copies(life.place.index.parent, life.gallery, operations[:done], in_flight)
    life.clear_copies()
    report.rounds += 1
    report.kills += killed
    report.acknowledged += done
    report.answers += board.read("answers")
    report.in_flight[f"{kind}, resumed" if resumed and not done else kind] += killed
    report.findings += [f"round {report.rounds}, {kind}: {fault}" for fault in faults]
    board.close()
    return killed


def _inspect(life: _Life, report: KillReport) -> Observation:
    started = time.perf_counter()
    found = inspect_apart(life.place.index, life.gallery)
    report.slowest = max(report.slowest, time.perf_counter() - started)
    return found


def _let_work(life: _Life, operations: list[Operation], board: Board, report: KillReport) -> bool:
    """Start worker and reader, now and then a compacting process, and kill at some moment; whether it was at work."""
    worlds: list[World] = [life.oracle.world, *(operation.after for operation in operations)]
    beside = life.chance.random() < _BESIDE
    worker = fork(lambda: _work(life, operations, board, alone=not beside), life.report)
    reading = Reading(life.place.index, life.gallery, worlds, board, life.chance.randrange(2**31))
    reader = fork(lambda: read_on(reading), life.report)
    keeper = fork(lambda: _compact_on(life.place.index), life.report) if beside else None
    time.sleep(life.chance.uniform(0.0, _LONGEST))
    killed = kill(worker)
    if keeper is not None:
        report.beside += kill(keeper)
    board.write("stopping", 1)
    if not wait(reader, _PATIENCE):
        report.findings.append(f"round {report.rounds + 1}: a reader gave no answer for {_PATIENCE:.0f} s")
    return killed


def _work(life: _Life, operations: list[Operation], board: Board, *, alone: bool) -> None:
    shrink_batches(alone=alone)
    for number, operation in enumerate(operations, start=1):
        board.write("model", operate(life.place, life.gallery, operation))
        board.write("acknowledged", number)


def _compact_on(folder: Path) -> None:
    """Compact again and again beside the writer, until killed."""
    parent = os.getppid()
    while os.getppid() == parent:
        if Layout(folder).is_index():
            with CatalogWriter(Layout(folder).catalog) as catalog:
                compact_index(Layout(folder), catalog)
        time.sleep(0.01)
