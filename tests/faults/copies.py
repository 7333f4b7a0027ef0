"""Backups and the indexes restored from them, after a fault: whole if acknowledged, else whole or not there.

What may change here: what of them is judged. Not: that each is opened by the real code.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from index.layout import Layout
from index.restore import restore
from tests.faults.gallery import Gallery
from tests.faults.inspection import Observation, inspect_apart
from tests.faults.oracle import Oracle
from tests.faults.plans import Operation, World


def judge_copies(folder: Path, gallery: Gallery, done: Sequence[Operation], in_flight: Operation | None) -> list[str]:
    """What is wrong with the newest acknowledged restore below `folder`, and with the one that was cut off."""
    newest = next((one for one in reversed(done) if one.copy is not None), None)
    faults = _judge(folder, gallery, newest, must_exist=True) if newest is not None else []
    if in_flight is not None and in_flight.copy is not None:
        faults += _judge(folder, gallery, in_flight, must_exist=False)
    return faults


def _judge(folder: Path, gallery: Gallery, operation: Operation, *, must_exist: bool) -> list[str]:
    restored, backup = folder / str(operation.copy), folder / f"{operation.copy}.backup"
    faults = []
    if must_exist or restored.exists():
        faults += _compare(inspect_apart(restored, gallery), operation.after)
    if must_exist or backup.exists():
        again = Layout(folder / "restored-again")
        faults += _compare(inspect_apart(again.folder, gallery, lambda: restore(backup, again)), operation.after)
        shutil.rmtree(again.folder, ignore_errors=True)
    return [f"{operation.copy}: {fault}" for fault in faults]


def _compare(found: Observation, world: World) -> list[str]:
    return Oracle().judge(found, world, None) if found.model is not None else ["is not there"]
