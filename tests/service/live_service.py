"""A service as a user runs it: `crossmatch serve` in a process of its own, on a port of its own.

Its standard error goes to a file, since a pipe that nobody empties would stop it, and so that tests can read it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class LiveService:
    """Where a running service answers, and what it was built from."""

    url: str
    index: Path
    pictures: tuple[Path, ...]
    process: int
    log: Path  # what it wrote to standard error


@dataclass(frozen=True)
class Started:
    """A process that serves."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


def run_crossmatch(*arguments: object, seconds: float = 120.0) -> tuple[int, str, str]:
    """A command of ours: its exit code, standard output and standard error."""
    command = [sys.executable, "-m", "crossmatch", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    return done.returncode, done.stdout, done.stderr


def _answer_interrupts() -> None:
    """Whoever started the tests in the background has SIGINT ignored, and so would the service."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def start(log: Path, arguments: Sequence[object]) -> Iterator[Started]:
    """`crossmatch serve` or `demo`, from its first address on; ended on the way out."""
    command = [sys.executable, "-m", "crossmatch", *map(str, arguments)]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=errors, stderr=errors, preexec_fn=_answer_interrupts) as process,
    ):
        try:
            yield Started(wait_for_address(process, log), process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextmanager
def serve(index: Path, log: Path, *options: object) -> Iterator[Started]:
    """`crossmatch serve --index INDEX` with more options."""
    with start(log, ["serve", "--index", index, "--port", "0", *options]) as started:
        yield started


def wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a service says once it answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        address = re.search(r"http://[\w.:]+", log.read_text())
        if address:
            return address[0]
        assert process.poll() is None, f"it ended with {process.returncode}: {log.read_text()}"
        time.sleep(0.05)
    raise AssertionError(f"it said no address in {START_SECONDS:.0f} s: {log.read_text()}")


def search(client: httpx.Client, data: bytes, k: int = 10) -> dict[str, Any]:
    """The answer to one picture, less the time it took. Fails unless it is a 200."""
    response = client.post("/v1/search", params={"k": k}, files={"image": ("a picture", data)})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    del answer["took_ms"]
    return answer


def expect_problem(response: httpx.Response, status: int, *words: str) -> str:
    """Check that a response is a whole problem document that names no path of this machine; its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    for word in words:
        assert word in problem["detail"], problem["detail"]
    for secret in ("/tmp", "/work", "/home", "/root", "site-packages", "Traceback", " at 0x"):
        assert secret not in response.text
    return str(problem["detail"])
