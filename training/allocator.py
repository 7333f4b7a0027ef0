"""The C allocator's settings that training on a CPU wants: they count only if set before the process starts.

By default glibc gives large blocks back to the kernel and asks for them again at every step; clearing the pages then
takes nearly half of the CPU's time (`docs/training.md`). What may change here: the figures.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",  # bytes: blocks below 4 GiB come from the heap
    "MALLOC_TRIM_THRESHOLD_": "8589934592",  # bytes: 8 GiB may stay free on top of it
    "MALLOC_TOP_PAD_": "268435456",  # bytes: it grows by 256 MiB at a time
}
_PROGRAMS = ("crossmatch", "crossmatch.py")


def plan_restart(program: str, environment: Mapping[str, str]) -> dict[str, str] | None:
    """The environment to start again with, or None where there is nothing to gain.

    None if the C library is not glibc, a setting is already there (ours, or the user's own: both stay), another
    allocator is preloaded, or `program` (`sys.argv[0]`) is not Crossmatch itself but something that imports it.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return None
    if "LD_PRELOAD" in environment or any(name in environment for name in KEEP_MEMORY):
        return None
    if Path(program).name not in _PROGRAMS:
        return None
    return {**environment, **KEEP_MEMORY}


def restart_with_kept_memory() -> None:
    """Start this command again, once, with the settings. Returns only where there is nothing to gain."""
    environment = plan_restart(sys.argv[0], os.environ)
    if environment is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, "-m", "crossmatch", *sys.argv[1:]], environment)
