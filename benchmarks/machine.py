"""What every benchmark says first: which machine, which versions."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from index.encoder_pool import usable_cores


def describe_machine(*packages: str) -> str:
    """One line: processor, cores, memory, Python and the versions of `packages`."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    kib = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{usable_cores()} cores of {cpu}, {kib / 2**20:.0f} GiB, Python {platform.python_version()}, {versions}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def print_table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """A Markdown table; floats to four places."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
