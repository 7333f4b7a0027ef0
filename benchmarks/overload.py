"""Ten times as many searches as can be answered, for a minute: what is still answered, how late, and what it costs.

    python -m benchmarks.overload --root ../shared/data/grocery --cache DIR [--items 100000] [--seconds 60] [--times 10]

First the peak: so many connections as saturate the service. Then the overload, given as requests a second: whether or
not they are answered, clients send `--times` the peak. Then, at once, a calm client: when its answers are quick again.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import LoadReport, drive, read_pictures
from benchmarks.machine import describe_machine, print_table
from benchmarks.processes import Server, serving
from benchmarks.served_index import make_served_index
from index.encoder_pool import usable_cores
from service.settings import Settings

_PEAK_CONNECTIONS = 8
_CONNECTIONS = 256  # in overload: several times the places that there are
_CALM_SECONDS = 5.0
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Phase:
    """A load, and what the server spent on it."""

    load: LoadReport
    cpu: float  # CPU seconds of the server
    memory: tuple[float, ...]  # resident MiB, twice a second

    @property
    def goodput_a_cpu_second(self) -> float:
        """Answers with 200 for each CPU second of the server."""
        return self.load.statuses.get("200", 0) / self.cpu


def run_phase(server: Server, root: Path, connections: int, seconds: float, pace: float | None = None) -> Phase:
    """The generator runs in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", "--url", server.url, "--root", str(root)]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    command += [] if pace is None else ["--pace", str(pace)]
    before, samples, done = server.cpu(), [server.memory()], threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            samples.append(server.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    finally:
        done.set()
        watcher.join()
    return Phase(LoadReport(**json.loads(output)), server.cpu() - before, tuple(samples))


def measure_recovery(server: Server, pictures: list[bytes], calm_p99: float) -> float:
    """Seconds after the overload until a lone client's answers are as quick as before it."""
    started = time.perf_counter()
    while time.perf_counter() - started < _CALM_SECONDS:
        at = time.perf_counter()
        load = drive(server.url, pictures, 1, 0.1)
        if load.statuses.get("200") and load.p50 <= 1.5 * calm_p99:
            return at - started
    return math.inf


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0)
    options = parser.parse_args()
    print(describe_machine("onnxruntime", "faiss-cpu", "uvicorn"))
    index = make_served_index(options.cache, options.root, options.items).folder
    pictures = read_pictures(options.root, 50)
    with serving("crossmatch", ["serve", "--index", index], "/readyz") as server:
        run_phase(server, options.root, 2, 2.0)
        calm = run_phase(server, options.root, 1, min(10.0, options.seconds))
        peak = run_phase(server, options.root, _PEAK_CONNECTIONS, min(15.0, options.seconds))
        pace = options.times * peak.load.goodput / _CONNECTIONS
        over = run_phase(server, options.root, _CONNECTIONS, options.seconds, pace)
        recovery = measure_recovery(server, pictures, calm.load.p99)
    print(f"\n{options.times:g} times the peak, {_CONNECTIONS} connections, {options.seconds:g} s:\n")
    print_table(("", "one client", "peak", "overload"), _tabulate(calm, peak, over))
    share = over.goodput_a_cpu_second / peak.goodput_a_cpu_second
    third = max(1, len(over.memory) // 3)
    print(f"\nGoodput a server CPU second, of the peak's: {share:.2f}")
    print(
        f"p99 of what was accepted: {over.load.p99 / 1000:.2f} s; the deadline: {Settings(index).deadline_seconds:g} s"
    )
    print(f"Quick again {recovery:.2f} s after the overload")
    first, last = max(over.memory[:third]), max(over.memory[-third:])
    print(f"Resident at most, in the first and in the last third of it: {first:.0f} and {last:.0f} MiB")


def _tabulate(*phases: Phase) -> list[tuple[object, ...]]:
    loads = [phase.load for phase in phases]
    sent = [sum(load.statuses.values()) + load.failures for load in loads]
    others = [
        {status: count for status, count in load.statuses.items() if status not in ("200", "429", "503")}
        for load in loads
    ]
    cores = usable_cores()
    return [
        ("requests a second", *(f"{n / load.seconds:.0f}" for n, load in zip(sent, loads, strict=True))),
        ("answered with 200, a second", *(f"{load.goodput:.1f}" for load in loads)),
        ("429", *(load.statuses.get("429", 0) for load in loads)),
        ("503", *(load.statuses.get("503", 0) for load in loads)),
        ("other statuses", *(other or "none" for other in others)),
        ("connections broken", *(load.failures for load in loads)),
        ("p50, ms, of the 200s", *(f"{load.p50:.0f}" for load in loads)),
        ("p99, ms, of the 200s", *(f"{load.p99:.0f}" for load in loads)),
        ("200s a server CPU second", *(f"{phase.goodput_a_cpu_second:.1f}" for phase in phases)),
        ("cores the server had", *(f"{phase.cpu / phase.load.seconds:.2f} of {cores}" for phase in phases)),
        ("cores the generator took", *(f"{load.cpu / load.seconds:.2f}" for load in loads)),
    ]


if __name__ == "__main__":
    main()
