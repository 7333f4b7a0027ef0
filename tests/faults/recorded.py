"""The worker that runs under strace: planned operations one after the other, each acknowledged by a write to a file.

python -m tests.faults.recorded --home DIR --seed 1 --operations 40 [--without rows]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tests.faults.gallery import make_gallery
from tests.faults.plans import Operation, Planner
from tests.faults.worker import MISSING_SYNCS, Place, leave_out_sync, operate, shrink_batches

_BETWEEN_BUILDS = 10  # operations


def plan_recording(seed: int, wanted: int) -> list[Operation]:
    """Builds, each of a source folder that has changed, and other operations between."""
    planner, operations = Planner(seed), list[Operation]()
    while len(operations) < wanted:
        planner.change_files()
        operations += planner.plan(min(_BETWEEN_BUILDS, wanted - len(operations)), first="build")
    return operations


def place_below(home: Path) -> Place:
    """Where the worker works; `home`/disk is what is traced."""
    return Place(home / "disk" / "new" / "index", home / "source", home / "loose")


def main() -> None:
    """Work, and acknowledge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--without", choices=MISSING_SYNCS)
    arguments = parser.parse_args()
    gallery, place = make_gallery(arguments.home.parent), place_below(arguments.home)
    place.prepare(gallery)
    shrink_batches(alone=True)
    if arguments.without:
        leave_out_sync(arguments.without)
    acknowledgements = os.open(arguments.home / "acknowledgements", os.O_WRONLY | os.O_CREAT, 0o644)
    for number, operation in enumerate(plan_recording(arguments.seed, arguments.operations), start=1):
        if operation.kind == "build":
            place.write_source(gallery, operation.files)
        model = operate(place, gallery, operation)
        os.write(acknowledgements, b"%d %d" % (number, model))
    os.close(acknowledgements)


if __name__ == "__main__":
    main()
