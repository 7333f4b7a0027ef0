from __future__ import annotations

import sys
from pathlib import Path

import pytest

from index.errors import UsageError
from training.metrics_log import MetricsLog
from training.tensorboard import Scalars


def test_the_rows_are_there_as_scalars(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    folder = tmp_path / "tensorboard"
    with MetricsLog(tmp_path / "metrics.jsonl", 0, 0, Scalars(folder, 0)) as log:
        for step in (1, 2):
            log.write("step", 1, step=step, loss=1 / step, tightness=None, contrast=0.5)
        log.write("validation", 1, protocols={"shelf": {"recall": {"1": 0.75}, "model": "m"}})
    events = EventAccumulator(str(folder))
    events.Reload()
    found = {tag: [(row.step, row.value) for row in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found["step/loss"] == [(1, 1.0), (2, 0.5)]
    assert found["step/contrast"] == [(1, 0.5), (2, 0.5)]
    assert found["validation/protocols/shelf/recall/1"] == [(2, 0.75)]
    assert "step/tightness" not in found


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"train\.tensorboard: .*pip install '\.\[tensorboard\]'"):
        Scalars(tmp_path, 0)
