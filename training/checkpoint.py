"""A run's state after a step, in one file that is whole or the one before it: enough to go on as if nothing happened.

What may change here: new entries, with a version that says so. Only tensors and plain values go in, so that torch
reads it with `weights_only=True` and nothing in it can act.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from index.errors import CrossmatchError, UsageError
from training.config import Config

CHECKPOINT_NAME = "checkpoint.pt"
_VERSION = 2
# A run may go on, or be exported again, with other values of these.
_AFTER_TRAINING = frozenset(
    {
        "evaluation",
        "calibration",
        "model.pretrained_share",
        "data.cache_gib",
        "train.loader_threads",
        "train.checkpoint_every",
        "train.tensorboard",
    }
)


@dataclass(frozen=True)
class RunIdentity:
    """What must be equal for a run to go on: configuration, classes, data."""

    config: Config
    classes: tuple[str, ...]
    digest: str  # of the training data

    def as_dict(self) -> dict[str, Any]:
        """Plain values; tuples become lists, as they come back from a file."""
        plain = {"config": self.config.as_dict(), "classes": self.classes, "digest": self.digest}
        return dict(json.loads(json.dumps(plain)))


def _what_trains(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity without the settings that trained weights do not hang on."""
    config = {
        section: {key: value for key, value in fields.items() if f"{section}.{key}" not in _AFTER_TRAINING}
        for section, fields in identity["config"].items()
        if section not in _AFTER_TRAINING
    }
    return {**identity, "config": config}


@dataclass(frozen=True)
class Checkpoint:
    """The state after `epoch` whole epochs and the first `steps` of the next."""

    epoch: int
    steps: list[dict[str, Any]]  # the figures of each step in the epoch that is not whole
    seconds: float  # spent on that epoch
    random: list[Tensor]  # torch's generator states: the CPU's, then each GPU's
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]  # of float16's loss scale; empty otherwise
    average: dict[str, Tensor] | None  # the encoder's moving average, where there is one


def save_checkpoint(path: Path, identity: RunIdentity, checkpoint: Checkpoint) -> None:
    """Write, sync, rename, sync the folder: a kill at any moment leaves the old file or the new one."""
    draft = path.with_suffix(".tmp")
    content = {"version": _VERSION, "identity": identity.as_dict(), **vars(checkpoint)}
    with draft.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path, identity: RunIdentity) -> Checkpoint | None:
    """The state to go on from; None where there is none.

    Raises UsageError for one of another run, CrossmatchError for a file that is no checkpoint.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, "cpu", weights_only=True)
        version, found = content.pop("version"), _what_trains(content.pop("identity"))
        checkpoint = Checkpoint(**content)
    except Exception as error:  # torch raises many types on files that are not its own
        raise CrossmatchError(
            "not a checkpoint", where=path, found=str(error).partition("\n")[0], remedy="remove it to start afresh"
        ) from error
    expected = _what_trains(identity.as_dict())
    if version != _VERSION or found != expected:
        raise UsageError(
            f"the run there has {_difference(found, expected)}",
            where=path,
            remedy="choose another --output, or remove the checkpoint to start afresh",
        )
    return checkpoint


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """The first thing that is not the same, in words."""
    for section, fields in expected["config"].items():
        for key, value in fields.items():
            other = found["config"].get(section, {}).get(key)
            if other != value:
                return f"another configuration: {section}.{key} is {other!r} there and {value!r} here"
    return "other classes" if found["classes"] != expected["classes"] else "other pictures or another format"


def random_states() -> list[Tensor]:
    """The states of torch's generators."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def restore_random_states(states: list[Tensor]) -> None:
    """Put torch's generators where they were."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])
