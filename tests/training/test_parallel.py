"""Two processes, as torchrun starts them, have the single process's losses and weights on the same global batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from index.errors import UsageError
from training.allocator import KEEP_MEMORY
from training.config import Config
from training.parallel import Processes, check_parallel
from training.run import train_bundle

RUNS: dict[str, dict[str, Any]] = {
    # A classifier with drop-out behind a BN-neck, accumulated batches, a moving average.
    "cosface": {
        "loss__name": "cosface", "model__feature_norm": "neck", "optimiser__classifier_rate": 3.0,
        "train__accumulate": 2, "train__batch_size": 4, "train__ema": 0.5,
    },
    # Pairs across the processes, and a classifier that learns beside them.
    "pce": {
        "loss__name": "pce", "model__feature_norm": "batch", "model__pooling": "generalised_mean",
        "model__projection": 8, "train__sampler": "m_per_class", "train__per_class": 4, "train__checkpoint_every": 2,
    },
}  # fmt: skip


def launch(config: Config, folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(config.as_dict()))), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "crossmatch", "train", str(path), "--output", str(folder / "two")]
    environment = {**os.environ, **KEEP_MEMORY, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("two/bundle: model") == 1  # the first process alone speaks
    assert done.stderr.count("Epoch 1 of 2") == 1


def read_steps(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] == "step"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_have_the_losses_of_one(name: str, tmp_path: Path, make_config: Callable[..., Config]) -> None:
    config = make_config(**RUNS[name])
    launch(config, tmp_path)
    train_bundle(config, tmp_path / "one")
    one, two = read_steps(tmp_path / "one"), read_steps(tmp_path / "two")
    assert len(one) == len(two) == 6
    for expected, found in zip(one, two, strict=True):
        for part in ("loss", "tightness", "contrast", "learning_rate"):
            assert found[part] == pytest.approx(expected[part], rel=2e-4, abs=2e-5), (found["step"], part)
    weights = [load_file(tmp_path / run / "bundle" / "weights.safetensors") for run in ("one", "two")]
    for key, expected in weights[0].items():
        np.testing.assert_allclose(weights[1][key], expected, atol=2e-4, rtol=1e-3, err_msg=key)


def test_what_would_differ_is_refused() -> None:
    with pytest.raises(UsageError, match=r"train\.batch_size.*a multiple of 3 processes"):
        check_parallel(Processes(0, 3), 8, freeze_batch_norm=True)
    with pytest.raises(UsageError, match=r"model\.freeze_batch_norm"):
        check_parallel(Processes(0, 2), 8, freeze_batch_norm=False)
    check_parallel(Processes(), 7, freeze_batch_norm=False)
