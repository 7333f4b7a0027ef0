"""A server in a process of its own, watched from outside: its CPU seconds, its memory, when it answers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """One that answers."""

    url: str
    pid: int
    started_in: float  # seconds, from its start to its first answer
    log: Path

    def cpu(self) -> float:
        """CPU seconds of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self, what: str = "VmRSS") -> float:
        """MiB now; `VmHWM`: the most so far; `RssAnon`: what no other process could share."""
        found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0


def find_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(module: str, arguments: Sequence[object], probe: str) -> Iterator[Server]:
    """`python -m MODULE ARGUMENTS --port P`, from its first answer at `probe` on; ended on the way out."""
    port = find_port()
    command = [sys.executable, "-m", module, *map(str, arguments), "--port", str(port)]
    started = time.perf_counter()
    with (
        tempfile.NamedTemporaryFile("wb", suffix=".log") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url + probe, process, Path(log.name))
            yield Server(url, process.pid, time.perf_counter() - started, Path(log.name))
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.perf_counter() + _START_SECONDS
    while time.perf_counter() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.02)
    raise RuntimeError(f"it does not answer: {log.read_text()}")
