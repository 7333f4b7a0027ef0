"""Damaged, crafted and hostile uploads against a live service, good ones among them: no 5xx, no hang, bounded memory.

`python -m benchmarks.abuse` sends 20,000 files from one seed: pictures of every format that is read with bits turned
over, cut off, overwritten and spliced; claims of huge sizes; bombs; animations of 100,000 frames; polyglots; files of
other kinds. Every tenth request is a good picture whose answer must be what it was at the start.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.drawn_service import DrawnService, serve_drawn
from benchmarks.machine import describe_machine
from benchmarks.served_index import make_model
from tests import picture_zoo as zoo
from tests.drawn_pictures import COLOURS, draw_picture

SECONDS = 20.0  # that one answer may take
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP")
REFUSED = {413, 415, 422}
_AT_ONCE = 8
_GOOD_EVERY = 10
_PEAK_MIB = 1024.0  # resident memory that the service may reach: eight pictures of 50 million pixels come in turn

Random = np.random.Generator


@dataclass
class Report:
    """What was sent and what came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    good: int = 0
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, status: int, seconds: float, fault: str | None) -> None:
        """One answer; from any thread."""
        with self.lock:
            self.kinds[kind] += 1
            self.statuses[status] += 1
            self.seconds.append(seconds)
            self.good += kind == "good"
            if fault:
                self.faults.append(f"{kind}: {fault}")


# What is sent


def turn_bits(data: bytes, random: Random) -> bytes:
    """One to sixteen bits, in the first hundred bytes as often as anywhere: sizes and offsets are there."""
    raw = bytearray(data)
    end = min(100, len(raw)) if random.integers(2) else len(raw)
    for place in random.integers(0, end, size=int(random.integers(1, 17))):
        raw[place] ^= 1 << int(random.integers(8))
    return bytes(raw)


def cut(data: bytes, random: Random) -> bytes:
    """The beginning alone."""
    return data[: int(random.integers(1, len(data)))]


def overwrite(data: bytes, random: Random) -> bytes:
    """A stretch of random bytes, or of ones, instead of what was there."""
    at, length = int(random.integers(len(data))), int(random.integers(1, 200))
    stretch = random.bytes(length) if random.integers(2) else b"\xff" * length
    return data[:at] + stretch + data[at + length :]


def double(data: bytes, random: Random) -> bytes:
    """A stretch twice, or left out."""
    start, end = sorted(int(each) for each in random.integers(0, len(data), size=2))
    return data[:end] + data[start:] if random.integers(2) else data[:start] + data[end:]


def splice(data: bytes, random: Random) -> bytes:
    """The head of one format and the tail of another."""
    other = pick_picture(random)
    return data[: int(random.integers(4, 200))] + other[int(random.integers(len(other))) :]


def claim(data: bytes, random: Random) -> bytes:
    """Four bytes of the head that say a great number."""
    at = int(random.integers(4, min(len(data), 80)))
    number = int(random.choice([0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65_535, 0]))
    return data[:at] + number.to_bytes(4, "big" if random.integers(2) else "little") + data[at + 4 :]


MUTATIONS: dict[str, Callable[[bytes, Random], bytes]] = {
    "bits": turn_bits,
    "cut": cut,
    "overwritten": overwrite,
    "doubled": double,
    "spliced": splice,
    "claims": claim,
}


def pick_picture(random: Random) -> bytes:
    """A drawn picture, of any label and format."""
    label = str(random.choice(list(COLOURS)))
    return draw_picture(label, int(random.integers(4)), str(random.choice(FORMATS)))


def make_bombs() -> list[tuple[str, bytes]]:
    """Files that ask for as much as they can."""
    return [
        ("bomb", zoo.png_of_size(7_000, 7_000)),  # within the limit of pixels: it is decoded
        ("frames", zoo.gif(50, 50, zoo.FRAMES)),
        ("bomb", zoo.png_of_size(50_000, 50_000)),
        ("frames", zoo.webp(zoo.FRAMES)),
        ("bomb", zoo.gif(7_000, 7_000, 10)),
        ("frames", zoo.tiff(zoo.FRAMES)),
        ("bomb", zoo.gif(65_000, 65_000, 1)),
        ("bomb", zoo.bmp_of_size(60_000, 60_000)),
    ]


def list_hostile(uploads: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(kind, bytes) of every upload that is no good picture, the same for the same seed."""
    random = np.random.default_rng(seed)
    crafted = [*make_bombs(), *(("crafted", data) for data, _ in zoo.bad().values())]
    names = list(MUTATIONS)
    for number in range(uploads):
        if number % 50 == 0:
            yield crafted[(number // 50) % len(crafted)]
        elif number % 50 == 25:
            yield "random", random.bytes(int(random.integers(1, 5000)))
        else:
            name = names[int(random.integers(len(names)))]
            yield name, MUTATIONS[name](pick_picture(random), random)


# Sending it


class Attack:
    """One service under attack."""

    def __init__(self, service: DrawnService, report: Report) -> None:
        self._report = report
        self._folder = str(service.index).encode()
        self._client = httpx.Client(base_url=service.server.url, timeout=SECONDS)
        self._good = [draw_picture(label, 1, format_) for label in COLOURS for format_ in FORMATS]
        self._answers = [self._ask(data).json()["results"] for data in self._good]

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _ask(self, data: bytes) -> httpx.Response:
        return self._client.post("/v1/search", params={"k": 5}, files={"image": data})

    def send(self, kind: str, data: bytes) -> None:
        """One hostile upload."""
        self._note(kind, data, self._judge)

    def send_good(self, number: int) -> None:
        """One good picture, whose answer is known."""
        which = number % len(self._good)

        def judge(response: httpx.Response) -> str | None:
            same = response.status_code == 200 and response.json()["results"] == self._answers[which]
            return None if same else f"another answer than at the start: {response.status_code}"

        self._note("good", self._good[which], judge)

    def _note(self, kind: str, data: bytes, judge: Callable[[httpx.Response], str | None]) -> None:
        started = time.perf_counter()
        try:
            response = self._ask(data)
        except httpx.HTTPError as error:
            self._report.note(kind, 0, time.perf_counter() - started, f"no answer: {type(error).__name__}")
            return
        self._report.note(kind, response.status_code, time.perf_counter() - started, judge(response))

    def _judge(self, response: httpx.Response) -> str | None:
        status, text = response.status_code, response.content
        if status != 200 and status not in REFUSED:
            return f"status {status}: {text[:200]!r}"
        if status != 200 and response.headers["content-type"] != "application/problem+json":
            return "no problem document"
        return "a path or a stack trace" if self._folder in text or b"Traceback" in text else None


def attack(service: DrawnService, uploads: int, seed: int) -> Report:
    """Send them all, so many at once."""
    report = Report()
    attacker = Attack(service, report)
    places = threading.BoundedSemaphore(4 * _AT_ONCE)  # else all files would be made before the first is sent

    def release(_done: Any) -> None:
        places.release()

    try:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for number, (kind, data) in enumerate(list_hostile(uploads, seed)):
                places.acquire()
                threads.submit(attacker.send, kind, data).add_done_callback(release)
                if number % _GOOD_EVERY == 0:
                    places.acquire()
                    threads.submit(attacker.send_good, number // _GOOD_EVERY).add_done_callback(release)
    finally:
        attacker.close()
    return report


def print_report(report: Report, memory: tuple[float, float, float], ready: bool) -> list[str]:
    """Print the figures; every reason why it is not as it should be."""
    faults = list(report.faults)
    start, peak, end = memory
    if peak > _PEAK_MIB:
        faults.append(f"resident memory reached {peak:.0f} MiB, more than {_PEAK_MIB:.0f}")
    if not ready:
        faults.append("not ready at the end")
    longest, middle = max(report.seconds), statistics.median(report.seconds)
    print(f"{report.statuses.total()} uploads, {report.good} of them good pictures whose answers were compared")
    print("kinds:", dict(report.kinds.most_common()))
    print("statuses:", dict(sorted(report.statuses.items())))
    print(f"seconds an answer: median {middle:.3f}, longest {longest:.3f} (limit {SECONDS:.0f})")
    print(f"resident memory: start {start:.0f} MiB, peak {peak:.0f} MiB, end {end:.0f} MiB (bound {_PEAK_MIB:.0f})")
    for fault in faults[:20]:
        print(f"FAILED {fault}")
    print(f"{len(faults)} failures")
    return faults


def main() -> int:
    """Run it; 1 where there was a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=20_000, help="that are no good pictures")
    parser.add_argument("--seed", type=int, default=2020)
    options = parser.parse_args()
    print(describe_machine("pillow", "onnxruntime", "uvicorn"))
    with tempfile.TemporaryDirectory() as name, serve_drawn(Path(name), make_model(Path(name))) as service:
        start = service.server.memory()
        report = attack(service, options.uploads, options.seed)
        memory = (start, service.server.memory("VmHWM"), service.server.memory())
        ready = httpx.get(f"{service.server.url}/readyz", timeout=SECONDS).status_code == 200
    return 1 if print_report(report, memory, ready) else 0


if __name__ == "__main__":
    sys.exit(main())
