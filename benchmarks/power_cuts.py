"""Simulated power cuts of a recorded worker, each reopened; and the same with one sync left out, which must fail.

    python -m benchmarks.power_cuts --cuts 1000 --seed 1

Needs strace. Prints Markdown; exits 1 if anything was found, or if a missing sync was not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine, print_table
from tests.faults.gallery import make_gallery
from tests.faults.power_cuts import CutPlan, CutReport, run_cuts
from tests.faults.worker import MISSING_SYNCS

_CONTROL_CUTS = 50  # with a sync left out


def main() -> int:
    """Record, cut, judge, print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(describe_machine("faiss-cpu"))
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.perf_counter()
        gallery = make_gallery(folder)
        report = run_cuts(folder, gallery, CutPlan(arguments.cuts, arguments.seed), _show)
        _print_report(report, arguments.seed, time.perf_counter() - started)
        _print_calls(report)
        print("".join(f"\n- {finding}" for finding in report.findings), flush=True)
        controls = {
            which: run_cuts(folder, gallery, CutPlan(_CONTROL_CUTS, arguments.seed, without=which), _show)
            for which in MISSING_SYNCS
        }
    _print_controls(controls)
    return 1 if report.findings or not all(control.findings for control in controls.values()) else 0


def _show() -> None:
    print(".", end="", file=sys.stderr, flush=True)


def _print_report(report: CutReport, seed: int, seconds: float) -> None:
    rows: list[tuple[object, ...]] = [
        ("power cuts, each reopened and judged", report.cuts),
        *((f"... during {kind}", count) for kind, count in sorted(report.in_flight.items())),
        ("... written to, compacted and judged again", report.gone_on),
        ("recorded runs, each equal to the real folder byte for byte when replayed whole", report.recordings),
        ("events in them", report.events),
        ("findings", len(report.findings)),
        ("seed", seed),
        ("took, s", f"{seconds:.0f}"),
    ]
    print()
    print_table(("measure", "value"), rows)


def _print_calls(report: CutReport) -> None:
    kinds = sorted({kind for kind, _ in report.calls})
    names = sorted({name for _, name in report.calls})
    print("\nWhat was recorded, calls by kind of file:\n")
    print_table(
        ("kind", *names, "bytes written"),
        [(kind, *(report.calls[kind, name] for name in names), report.sizes[kind]) for kind in kinds],
    )


def _print_controls(controls: dict[str, CutReport]) -> None:
    print("\nWith one sync left out of the code, the same harness:\n")
    print_table(
        ("left out", "cuts", "findings", "for example"),
        [
            (which, control.cuts, len(control.findings), (control.findings or ["none"])[0].partition(": ")[2][:120])
            for which, control in controls.items()
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
