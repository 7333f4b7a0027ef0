"""Kills at random moments of every kind of write: what an oracle found afterwards, and how soon a restart serves.

    python -m benchmarks.kills --kills 300 --seed 1

Prints Markdown; exits 1 if anything was found. The same seed plans the same operations and delays.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine, print_table
from tests.faults.gallery import make_gallery
from tests.faults.kills import run_kills
from tests.faults.restarts import RESTARTS, measure_restarts

_NAMES = {"rebuild": "swap (a build with another model)", "rebuild, resumed": "swap, resumed"}


def main() -> int:
    """Kill, measure, print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--items", type=int, default=100_000, help="of the index that is restarted")
    arguments = parser.parse_args()
    print(describe_machine("faiss-cpu"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        report = run_kills(
            folder, make_gallery(folder), arguments.kills, arguments.seed, lambda: print(".", end="", file=sys.stderr)
        )
        took = time.perf_counter() - started
        restarts = measure_restarts(folder / "large", arguments.items, arguments.seed)
    rows: list[tuple[object, ...]] = [
        ("kills at work", report.kills),
        *((f"... during {_NAMES.get(kind, kind)}", count) for kind, count in sorted(report.in_flight.items())),
        ("... of a compacting process beside as well", report.beside),
        ("operations acknowledged", report.acknowledged),
        ("answers of readers beside, each checked", report.answers),
        ("findings", len(report.findings)),
        (f"restarts of {arguments.items} items right after a kill, unsealed items at most", max(restarts.unsealed)),
        (f"process start to first answer, slowest of {RESTARTS}, s", f"{max(restarts.seconds):.2f}"),
        ("seed", arguments.seed),
        ("took, s", f"{took:.0f}"),
    ]
    print()
    print_table(("measure", "value"), rows)
    print("".join(f"\n- {finding}" for finding in report.findings + restarts.findings))
    return 1 if report.findings or restarts.findings else 0


if __name__ == "__main__":
    sys.exit(main())
