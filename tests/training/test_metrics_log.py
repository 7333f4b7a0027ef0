from __future__ import annotations

import json
from pathlib import Path

from training.metrics_log import MetricsLog


def read(path: Path) -> list[tuple[str, int, float]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["kind"], row["epoch"], row["loss"]) for row in rows]


def test_rows_of_an_unfinished_epoch_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0) as log:
        log.write("step", 1, loss=3.0)
        log.write("epoch", 1, loss=3.0)
        log.write("step", 2, loss=2.5)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "step", "ep')  # a kill in the middle of a line
    with MetricsLog(path, 1) as log:
        log.write("step", 2, loss=2.0)
    assert read(path) == [("step", 1, 3.0), ("epoch", 1, 3.0), ("step", 2, 2.0)]


def test_a_row_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0) as log:
        log.write("step", 1, loss=3.0)
        assert read(path) == [("step", 1, 3.0)]
