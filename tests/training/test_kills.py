"""`kill -9` at any moment: the same command goes on, and ends in the weights of a run that nothing interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from training.allocator import KEEP_MEMORY
from training.config import Config

KILLS = 3


def start(folder: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "crossmatch", "train", str(folder / "config.yaml"), "--output", str(output)]
    environment = {**os.environ, **KEEP_MEMORY, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]


def rows(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def kill_after(process: subprocess.Popen[str], run: Path, more: int, delay: float) -> bool:
    """Kill it `delay` seconds after it has logged so many more rows; False where it had ended by then."""
    start, deadline = len(rows(run)), time.monotonic() + 120
    while process.poll() is None and len(rows(run)) < start + more:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(delay)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return not ended


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_weights(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    config = make_config(
        train__epochs=10, train__batch_size=4, train__checkpoint_every=2, train__ema=0.9, loss__name="cosface",
        model__feature_norm="batch", optimiser__learning_rate=0.002,
    )  # fmt: skip
    plain = json.loads(json.dumps(config.as_dict()))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    whole = start(tmp_path, tmp_path / "whole")
    finish(whole)
    random = np.random.default_rng(int(os.environ.get("CROSSMATCH_KILL_SEED", "0")))
    killed = 0
    for _ in range(KILLS):
        process = start(tmp_path, tmp_path / "killed")
        killed += kill_after(process, tmp_path / "killed", int(random.integers(1, 14)), random.uniform(0, 0.02))
    assert killed == KILLS
    finish(start(tmp_path, tmp_path / "killed"))
    expected, found = (load_file(tmp_path / run / "bundle" / "weights.safetensors") for run in ("whole", "killed"))
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)
    steps = [
        [row for line in rows(tmp_path / run) if (row := json.loads(line))["kind"] == "step"]
        for run in ("whole", "killed")
    ]
    assert steps[0] == steps[1]
    assert [row["step"] for row in steps[0]] == list(range(1, 61))
    epochs = [
        [row["loss"] for line in rows(tmp_path / run) if (row := json.loads(line))["kind"] == "epoch"]
        for run in ("whole", "killed")
    ]
    assert epochs[0] == epochs[1]
