"""The figures of `metrics.jsonl` as TensorBoard's event files, for those who watch runs there.

The library is the extra `tensorboard`; it is imported when a run asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from index.errors import UsageError

TENSORBOARD_NAME = "tensorboard"


class Scalars:
    """Event files in a folder of their own."""

    def __init__(self, folder: Path, steps_done: int) -> None:
        """What earlier files have after `steps_done` is hidden. Raises UsageError without the library."""
        try:
            module = importlib.import_module("torch.utils.tensorboard")
        except ImportError as error:
            raise UsageError(
                "this needs tensorboard, which is not installed",
                where="train.tensorboard",
                remedy="pip install '.[tensorboard]' in the clone, or say train.tensorboard=false",
            ) from error
        self._writer: Any = module.SummaryWriter(folder, purge_step=steps_done + 1)
        self._step = steps_done

    def write(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Every number of a row, as kind/name, at its step or, where it has none, at the last one."""
        self._step = int(fields.get("step", self._step))
        for name, value in _numbers(kind, fields):
            self._writer.add_scalar(name, value, self._step)

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()


def _numbers(prefix: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}/{name}", value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            yield f"{prefix}/{name}", float(value)
