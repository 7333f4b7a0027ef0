"""The bare pipeline that a service is measured against: decode, encode, search, on a thread a core, and nothing else.

    python -m benchmarks.pipeline --index DIR --root ../shared/data/grocery [--seconds 10] [--arrangement threads]

Arrangements: `threads` (a single-thread session a core), `shared` (one session of as many threads as cores, used by a
thread a core), `processes` (a process a core, each with a session and a view of its own). Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.queues import Queue
from pathlib import Path

import faiss
import numpy as np

from benchmarks.load import read_pictures
from index.encoder import Encoder, open_session
from index.encoder_pool import usable_cores
from index.searcher import Searcher, search_picture

K = 10


@dataclass(frozen=True)
class Run:
    """Latencies in seconds, and the CPU seconds of all of them."""

    taken: list[float]
    cpu: float


@dataclass(frozen=True)
class PipelineReport:
    """One run."""

    arrangement: str
    threads: int
    rate: float  # pictures a second
    cpu: float  # CPU seconds a picture
    p50: float  # milliseconds
    p95: float
    p99: float


def _work(answer: Callable[[bytes], object], pictures: list[bytes], first: int, end: float) -> list[float]:
    faiss.omp_set_num_threads(1)
    taken, number = [], first
    while (started := time.perf_counter()) < end:
        answer(pictures[number % len(pictures)])
        taken.append(time.perf_counter() - started)
        number += 1
    return taken


def run_threads(index: Path, pictures: list[bytes], threads: int, seconds: float, *, shared: bool) -> Run:
    """All threads of this process, warm before the clock starts."""
    with Searcher(index) as searcher:
        bundle = searcher.read_bundle()
        encoders = [Encoder(bundle) for _ in range(1 if shared else threads)] * (threads if shared else 1)
        if shared:
            encoders[0]._session = open_session(bundle.model_path, threads)
        for encoder in encoders:
            search_picture(searcher, encoder, pictures[0], K)
        taken: list[list[float]] = [[] for _ in range(threads)]
        before, end = _cpu_seconds(), time.perf_counter() + seconds

        def work(number: int) -> None:
            first = number * len(pictures) // threads
            taken[number] = _work(
                lambda data: search_picture(searcher, encoders[number], data, K), pictures, first, end
            )

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return Run([latency for some in taken for latency in some], _cpu_seconds() - before)


def _run_process(index: Path, pictures: list[bytes], seconds: float, out: Queue[Run]) -> None:
    out.put(run_threads(index, pictures, 1, seconds, shared=False))


def run_processes(index: Path, pictures: list[bytes], count: int, seconds: float) -> Run:
    """A process a core, each with all of its own."""
    context = multiprocessing.get_context("spawn")
    out: Queue[Run] = context.Queue()
    workers = [context.Process(target=_run_process, args=(index, pictures, seconds, out)) for _ in range(count)]
    for worker in workers:
        worker.start()
    runs = [out.get() for _ in workers]
    for worker in workers:
        worker.join()
    return Run([latency for run in runs for latency in run.taken], sum(run.cpu for run in runs))


def measure(index: Path, pictures: list[bytes], arrangement: str, threads: int, seconds: float) -> PipelineReport:
    """One run of an arrangement."""
    if arrangement == "processes":
        run = run_processes(index, pictures, threads, seconds)
    else:
        run = run_threads(index, pictures, threads, seconds, shared=arrangement == "shared")
    p50, p95, p99 = (float(point) for point in np.percentile(run.taken, [50, 95, 99]) * 1000)
    count = len(run.taken)
    return PipelineReport(arrangement, threads, count / seconds, run.cpu / count, p50, p95, p99)


def _cpu_seconds() -> float:
    """Of this process."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return times.ru_utime + times.ru_stime


def main() -> None:
    """Measure once and print the report."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--arrangement", choices=("threads", "shared", "processes"), default="threads")
    options = parser.parse_args()
    pictures = read_pictures(options.root, options.pictures)
    print(json.dumps(asdict(measure(options.index, pictures, options.arrangement, options.threads, options.seconds))))


if __name__ == "__main__":
    main()
