"""`metrics.jsonl`: what a run measured, a JSON object a line, in the order it happened.

`kind` is `step` (loss and its parts), `epoch` (their means, speed) or `validation` (figures on the held-out classes).
What may change here: new kinds and fields. `docs/training.md` lists them.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from training.tensorboard import Scalars

METRICS_NAME = "metrics.jsonl"


class Log(Protocol):
    """Where a run's figures go."""

    def write(self, kind: str, epoch: int, **fields: Any) -> None:
        """One row; `epoch` counts from 1."""


class SilentLog:
    """Of the processes that write nothing."""

    def write(self, kind: str, epoch: int, **fields: Any) -> None:
        """Nothing."""


class MetricsLog:
    """Appends rows; opened for a run that has so much behind it, drops what came after."""

    def __init__(self, path: Path, epochs_done: int, steps_done: int = 0, scalars: Scalars | None = None) -> None:
        """`steps_done`: of the whole run, those in the epoch that is not whole among them."""
        rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [row for row in rows if _is_done(row, epochs_done, steps_done)]
        draft = path.with_suffix(".tmp")  # a kill in the middle must not lose what was logged
        draft.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
        draft.replace(path)
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a line at a time
        self._scalars = scalars

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._scalars:
            self._scalars.close()

    def write(self, kind: str, epoch: int, **fields: Any) -> None:
        """One row; `epoch` counts from 1."""
        self._file.write(json.dumps({"kind": kind, "epoch": epoch, **fields}, allow_nan=False) + "\n")
        if self._scalars:
            self._scalars.write(kind, fields)


def _is_done(row: str, epochs_done: int, steps_done: int) -> bool:
    """Whether a row is of what is done; a row that a kill cut short is not."""
    try:
        fields = json.loads(row)
        if fields["kind"] == "step" and steps_done:
            return int(fields["step"]) <= steps_done
        return int(fields["epoch"]) <= epochs_done
    except (ValueError, KeyError, TypeError):
        return False
