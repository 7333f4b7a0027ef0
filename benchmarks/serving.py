"""What a search over HTTP costs beside the bare pipeline, and beside a plain service.

    python -m benchmarks.serving --root ../shared/data/grocery --cache ~/.cache/crossmatch-bench
        [--items 100000] [--seconds 15] [--rounds 3] [--plot docs/images/latency.svg]

The bare pipeline (decode, encode, search on a thread a core, `benchmarks.pipeline`), our service and the plain one
(`benchmarks.plain_service`) are measured in turns, round after round; the middle round counts. The load generator runs
on the same machine: its CPU seconds are measured and taken off the cores that the server could have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import LoadReport
from benchmarks.machine import describe_machine, print_table
from benchmarks.pipeline import PipelineReport
from benchmarks.plot import plot_lines
from benchmarks.processes import Server, serving
from benchmarks.served_index import make_served_index
from index.encoder_pool import usable_cores

_CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
_WARM_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    root: Path
    index: Path
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Cost:
    """A server under so many connections."""

    load: LoadReport
    cpu: float  # CPU seconds of the server an answer
    rate: float  # answers a second, had the generator's CPU been the server's


def run_pipeline(options: Options, arrangement: str, threads: int) -> PipelineReport:
    """In a process of its own."""
    return PipelineReport(
        **_run_json(
            "benchmarks.pipeline",
            *("--index", options.index, "--root", options.root, "--seconds", options.seconds),
            *("--arrangement", arrangement, "--threads", threads),
        )
    )


def run_load(server: Server, options: Options, connections: int, seconds: float | None = None) -> Cost:
    """In a process of its own; what the server spent meanwhile."""
    before = server.cpu()
    load = LoadReport(
        **_run_json(
            "benchmarks.load",
            *("--url", server.url, "--root", options.root, "--connections", connections),
            *("--seconds", seconds or options.seconds),
        )
    )
    spent = server.cpu() - before
    answered = max(1, load.statuses.get("200", 0))
    cores = usable_cores()
    return Cost(load, spent / answered, load.goodput * cores / (cores - load.cpu / load.seconds))


def _run_json(module: str, *arguments: object) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _middle(values: list[float]) -> float:
    return statistics.median(values)


def compare(options: Options, ours: Server, plain: dict[str, Server]) -> None:
    """Saturated, in turns; then one client."""
    cores = usable_cores()
    bare: list[PipelineReport] = []
    served: list[Cost] = []
    others: dict[str, list[Cost]] = {name: [] for name in plain}
    for _ in range(options.rounds):
        bare.append(run_pipeline(options, "threads", cores))
        served.append(run_load(ours, options, 4 * cores))
        for name, server in plain.items():
            others[name].append(run_load(server, options, 4 * cores))
    bare_rate, bare_cpu = _middle([one.rate for one in bare]), _middle([one.cpu for one in bare])
    rows: list[tuple[object, ...]] = [
        ("bare pipeline", f"{bare_rate:.1f}", "1.00", f"{bare_cpu * 1000:.2f}", "1.00", "")
    ]
    for name, costs in {"crossmatch serve": served, **others}.items():
        rate, cpu = _middle([one.rate for one in costs]), _middle([one.cpu for one in costs])
        generator = _middle([one.load.cpu / max(1, sum(one.load.statuses.values())) for one in costs])
        rows.append(
            (
                *(name, f"{rate:.1f}", f"{rate / bare_rate:.2f}", f"{cpu * 1000:.2f}", f"{cpu / bare_cpu:.2f}"),
                f"{generator * 1000:.2f}",
            )
        )
    print(f"\nSaturated, {4 * cores} connections, the middle of {options.rounds} rounds of {options.seconds:g} s:\n")
    header = ("", "answers/s", "of the bare", "CPU ms an answer", "of the bare", "generator's CPU ms, taken off")
    print_table(header, rows)


def compare_alone(options: Options, ours: Server) -> None:
    """Latency where one client asks."""
    bare = [run_pipeline(options, "threads", 1) for _ in range(options.rounds)]
    served = [run_load(ours, options, 1) for _ in range(options.rounds)]
    base = _middle([one.p50 for one in bare])
    ours_p50 = _middle([one.load.p50 for one in served])
    print("\nOne client, milliseconds:\n")
    rows: list[tuple[object, ...]] = [
        ("bare pipeline, one thread", f"{base:.1f}", f"{_middle([one.p99 for one in bare]):.1f}", "1.00"),
        (
            *("crossmatch serve", f"{ours_p50:.1f}", f"{_middle([one.load.p99 for one in served]):.1f}"),
            f"{ours_p50 / base:.2f}",
        ),
    ]
    print_table(("", "p50", "p99", "p50 of the bare"), rows)


def draw_curve(options: Options, ours: Server, plot: Path | None) -> None:
    """Latency over concurrency."""
    loads = [run_load(ours, options, connections).load for connections in _CONNECTIONS]
    print("\nOver concurrency, milliseconds:\n")
    rows: list[tuple[object, ...]] = [
        (count, f"{load.goodput:.1f}", f"{load.p50:.1f}", f"{load.p95:.1f}", f"{load.p99:.1f}", _refused(load))
        for count, load in zip(_CONNECTIONS, loads, strict=True)
    ]
    print_table(("connections", "answers/s", "p50", "p95", "p99", "not answered with 200"), rows)
    if plot is not None:
        lines = {name: [getattr(load, name) for load in loads] for name in ("p50", "p95", "p99")}
        plot_lines(plot, "Latency of POST /v1/search", ("connections", "milliseconds"), _CONNECTIONS, lines)


def _refused(load: LoadReport) -> int:
    return sum(load.statuses.values()) - load.statuses.get("200", 0) + load.failures


def compare_arrangements(options: Options) -> None:
    """A session a thread, one shared session, a process a core."""
    cores = usable_cores()
    names = ("threads", "shared", "processes")
    runs: dict[str, list[PipelineReport]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            runs[name].append(run_pipeline(options, name, cores))
    print("\nThe bare pipeline, arranged otherwise:\n")
    rows: list[tuple[object, ...]] = []
    for name in names:
        rate, cpu, p50 = (_middle([getattr(one, field) for one in runs[name]]) for field in ("rate", "cpu", "p50"))
        rows.append((name, f"{rate:.1f}", f"{cpu * 1000:.2f}", f"{p50:.1f}"))
    print_table(("arrangement", "pictures/s", "CPU ms a picture", "p50, ms"), rows)


def describe_server(server: Server) -> tuple[object, ...]:
    """Start and memory, once it has answered."""
    return (f"{server.started_in:.1f}", f"{server.memory():.0f}", f"{server.memory('RssAnon'):.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    print(describe_machine("onnxruntime", "faiss-cpu", "torch", "fastapi", "uvicorn"))
    index = make_served_index(given.cache, given.root, given.items).folder
    options = Options(given.root, index, given.seconds, given.rounds)
    compare_arrangements(options)
    plain = ["--index", index]
    with (
        serving("crossmatch", ["serve", "--index", index], "/readyz") as ours,
        serving("benchmarks.plain_service", plain, "/docs") as default,
        serving("benchmarks.plain_service", [*plain, "--threads", 1], "/docs") as single,
    ):
        others = {"plain service": default, "plain service, torch on one thread": single}
        for server in (ours, *others.values()):
            run_load(server, options, 2, _WARM_SECONDS)
        compare(options, ours, others)
        compare_alone(options, ours)
        draw_curve(options, ours, given.plot)
        print(f"\nServing {given.items:,} items, after all this:\n")
        rows = [(name, *describe_server(one)) for name, one in {"crossmatch serve": ours, **others}.items()]
        print_table(("", "start, s", "resident, MiB", "of it private, MiB"), rows)


if __name__ == "__main__":
    main()
