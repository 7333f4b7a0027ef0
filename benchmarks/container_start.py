"""From `compose up` to the first answered search: with new volumes, and once the index is there.

    python -m benchmarks.container_start

The images must have been built (`docker compose build`). podman waits for no health check, so there `service` is
started when the indexer is healthy, as Docker does it. Everything is under a project name of its own and taken down.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import httpx

from benchmarks.image_size import find_engine
from benchmarks.machine import describe_machine, print_table
from service.sample import find_sample_folder

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "crossmatch-start"
PATIENCE = 300.0  # seconds


def compose(port: int, *arguments: str) -> int:
    """Run compose under the benchmark's own name; its exit code."""
    environment = {**os.environ, "COMPOSE_PROJECT_NAME": PROJECT, "CROSSMATCH_PORT": str(port)}
    command = [str(ROOT / "docker/compose"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def start(engine: str, port: int) -> tuple[float, int]:
    """Bring it up: seconds until a search is answered, and the items that there are then."""
    started = time.perf_counter()
    if engine == "podman":
        compose(port, "up", "-d", "--no-build", "indexer")
        while compose(port, "exec", "-T", "indexer", "test", "-e", "/tmp/in-step"):
            check_patience(started)
    compose(port, "up", "-d", "--no-build", "service")
    picture = min(find_sample_folder().glob("*.png")).read_bytes()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        while True:
            try:
                answer = client.post("/v1/search", files={"image": picture})
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200 and answer.json()["results"]:
                return time.perf_counter() - started, answer.json()["index"]["size"]
            check_patience(started)
            time.sleep(0.05)


def check_patience(started: float) -> None:
    """End where nothing comes."""
    if time.perf_counter() - started > PATIENCE:
        raise SystemExit(f"no answer within {PATIENCE:.0f} s")


def main() -> None:
    """Measure and print."""
    engine = find_engine()
    print(describe_machine().rstrip(", "), engine, sep=", ")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    compose(port, "down", "-v")
    try:
        first = start(engine, port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while client.get("/v1/index").json()["building"]:
                time.sleep(1)
        compose(port, "down")
        second = start(engine, port)
    finally:
        compose(port, "down", "-v")
    rows: list[tuple[object, ...]] = [
        ("`compose up` to the first answer, s", f"{first[0]:.1f}", f"{second[0]:.1f}"),
        ("pictures in the index by then", first[1], second[1]),
    ]
    print_table(("measure", "new volumes", "the index is there"), rows)


if __name__ == "__main__":
    main()
