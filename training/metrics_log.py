"""`metrics.jsonl`: what a run measured, a JSON object a line, in the order it happened.

`kind` is `step` (loss and its parts), `epoch` (their means, speed) or `validation` (figures on the held-out classes).
What may change here: new kinds and fields. `docs/training.md` lists them.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

METRICS_NAME = "metrics.jsonl"


class MetricsLog:
    """Appends rows; opened for a run that has `epochs_done` behind it, drops what an unfinished epoch left."""

    def __init__(self, path: Path, epochs_done: int) -> None:
        rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [row for row in rows if _epoch(row) <= epochs_done]
        path.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a line at a time

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, kind: str, epoch: int, **fields: Any) -> None:
        """One row; `epoch` counts from 1."""
        self._file.write(json.dumps({"kind": kind, "epoch": epoch, **fields}, allow_nan=False) + "\n")


def _epoch(row: str) -> float:
    """The epoch of a row; a row that a kill cut short belongs to none that is done."""
    try:
        return float(json.loads(row)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
