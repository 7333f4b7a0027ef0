"""Configurations small enough that an epoch takes a moment, and torch kept to one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import Config
from training.config_reading import build_config


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Equal sums on every machine, and no waiting for cores that other tests use."""
    torch.set_num_threads(1)


@pytest.fixture
def make_config(drawn_pictures: Path) -> Callable[..., Config]:
    """A tiny configuration; `section__key=value` arguments replace its values."""

    def make(**changes: Any) -> Config:
        values: dict[str, dict[str, Any]] = {
            "data": {"name": "folder", "root": str(drawn_pictures)},
            "model": {"backbone": "test_efficientnet", "weights": "none"},
            "augmentation": {"input_size": 32, "resize": 36},
            "train": {"epochs": 2, "batch_size": 8, "device": "cpu", "loader_threads": 1},
        }
        for name, value in changes.items():
            section, key = name.split("__")
            values.setdefault(section, {})[key] = value
        return build_config(values, "test")

    return make
