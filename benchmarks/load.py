"""A load generator that costs little itself, and says how much: closed loop, so many connections, raw sockets.

    python -m benchmarks.load --url http://127.0.0.1:8000 --root ../shared/data/grocery --connections 8 --seconds 10

Prints one line of JSON: what was answered how, latencies of what was answered with 200, and its own CPU seconds.
`pace` limits each connection to so many requests a second, so that overload can be given in requests a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import uvloop

_BOUNDARY = b"crossmatch-load"
_RECONNECT_SECONDS = 0.05


@dataclass
class Tally:
    """What came of the requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds, of each 200
    finished: list[float] = field(default_factory=list)  # when each 200 came, in seconds since the epoch
    failures: int = 0  # connections that were closed or refused under a request


@dataclass(frozen=True)
class LoadReport:
    """One run."""

    seconds: float
    statuses: dict[str, int]
    failures: int
    cpu: float  # seconds of the generator
    p50: float  # milliseconds, of what was answered with 200
    p95: float
    p99: float

    @property
    def goodput(self) -> float:
        """Answers with 200, a second."""
        return self.statuses.get("200", 0) / self.seconds


def read_pictures(root: Path, count: int, split: str = "test") -> list[bytes]:
    """The bytes of `count` JPEGs of Grocery, evenly spread."""
    paths = sorted((root / split).rglob("*.jpg"))
    return [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]


def make_request(url: str, picture: bytes, k: int = 10) -> bytes:
    """`POST /v1/search`, as it goes over the wire."""
    body = b'--%b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n' % _BOUNDARY
    body += b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n--%b--\r\n" % _BOUNDARY
    parts = urlsplit(url)
    head = f"POST {parts.path or '/v1/search'}?k={k} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={_BOUNDARY.decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    length = int(head[at + 15 : head.index(b"\r\n", at)])
    await reader.readexactly(length)
    return head[9:12].decode()


async def _drive(url: str, requests: list[bytes], first: int, end: float, tally: Tally, pace: float | None) -> None:
    parts = urlsplit(url)
    number, due = first, time.perf_counter()
    writer: asyncio.StreamWriter | None = None
    while time.perf_counter() < end:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            started = time.perf_counter()
            writer.write(requests[number % len(requests)])
            status = await _read_answer(reader)
            now = time.perf_counter()
            tally.statuses[status] += 1
            if status == "200":
                tally.latencies.append(now - started)
                tally.finished.append(time.time())
        except (OSError, asyncio.IncompleteReadError):
            tally.failures += 1
            writer = None
            await asyncio.sleep(_RECONNECT_SECONDS)
        number += 1
        if pace:
            due = max(due + 1 / pace, time.perf_counter() - 1 / pace)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
    if writer is not None:
        writer.close()


def drive(
    url: str,
    pictures: list[bytes],
    connections: int,
    seconds: float,
    pace: float | None = None,
    timeline: Path | None = None,
) -> LoadReport:
    """Send for so many seconds. `pace`: requests a second of each connection at most; None: as fast as answers come.

    `timeline`: a file for (n, 2) float64: when each 200 came, in seconds since the epoch, and how long it took.
    """
    requests = [make_request(url, picture) for picture in pictures]
    tally = Tally()

    async def run() -> float:
        started = time.perf_counter()
        step = max(1, len(requests) // connections)
        drivers = (_drive(url, requests, step * n, started + seconds, tally, pace) for n in range(connections))
        await asyncio.gather(*drivers)
        return time.perf_counter() - started

    before = resource.getrusage(resource.RUSAGE_SELF)
    took = uvloop.run(run())
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if timeline is not None:
        np.save(timeline, np.column_stack([tally.finished, tally.latencies]))
    p50, p95, p99 = (float(point) for point in np.percentile(tally.latencies or [0.0], [50, 95, 99]) * 1000)
    return LoadReport(took, dict(tally.statuses), tally.failures, cpu, p50, p95, p99)


def main() -> None:
    """Drive once and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pace", type=float)
    parser.add_argument("--timeline", type=Path)
    options = parser.parse_args()
    pictures = read_pictures(options.root, options.pictures)
    report = drive(options.url, pictures, options.connections, options.seconds, options.pace, options.timeline)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
