from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from index.errors import CrossmatchError, UsageError
from training.checkpoint import (
    Checkpoint,
    RunIdentity,
    random_states,
    read_checkpoint,
    restore_random_states,
    save_checkpoint,
)
from training.config import Config

STATE = Checkpoint(
    epoch=3,
    steps=[{"loss": 0.5, "tightness": None}],
    seconds=1.5,
    random=[torch.zeros(3)],
    model={"weight": torch.ones(2)},
    optimiser={"state": {}, "param_groups": [{"lr": 0.1}]},
    scaler={},
    average=None,
)


@pytest.fixture
def identity(make_config: Callable[..., Config]) -> RunIdentity:
    return RunIdentity(make_config(), ("a", "b"), "d1")


def test_what_is_saved_comes_back(tmp_path: Path, identity: RunIdentity) -> None:
    path = tmp_path / "checkpoint.pt"
    assert read_checkpoint(path, identity) is None
    save_checkpoint(path, identity, STATE)
    found = read_checkpoint(path, identity)
    assert found is not None
    assert (found.epoch, found.steps, found.optimiser) == (3, STATE.steps, STATE.optimiser)
    assert torch.equal(found.model["weight"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_write_that_fails_leaves_the_old_one(
    tmp_path: Path, identity: RunIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, identity, STATE)

    def cut_short(_content: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", cut_short)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, identity, replace(STATE, epoch=4))
    found = read_checkpoint(path, identity)
    assert found is not None
    assert found.epoch == 3


def test_another_run_is_refused_with_the_difference(
    tmp_path: Path, identity: RunIdentity, make_config: Callable[..., Config]
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, identity, STATE)
    others = {
        "train.epochs is 2 there and 9 here": RunIdentity(make_config(train__epochs=9), ("a", "b"), "d1"),
        "other classes": RunIdentity(identity.config, ("a", "c"), "d1"),
        "other pictures": RunIdentity(identity.config, ("a", "b"), "d2"),
    }
    for says, other in others.items():
        with pytest.raises(UsageError, match=says):
            read_checkpoint(path, other)


def test_a_damaged_file_is_named(tmp_path: Path, identity: RunIdentity) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, identity, STATE)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CrossmatchError, match=r"checkpoint\.pt: not a checkpoint"):
        read_checkpoint(path, identity)


def test_random_states_go_back() -> None:
    states = random_states()
    first = torch.rand(3)
    restore_random_states(states)
    assert torch.equal(torch.rand(3), first)


def test_what_training_does_not_hang_on_may_differ(
    tmp_path: Path, identity: RunIdentity, make_config: Callable[..., Config]
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, identity, STATE)
    other = make_config(evaluation__input_size=64, train__loader_threads=3, data__cache_gib=0.5)
    assert read_checkpoint(path, RunIdentity(other, ("a", "b"), "d1")) is not None
