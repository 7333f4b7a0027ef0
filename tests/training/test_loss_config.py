from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from index.errors import UsageError
from training.config import Config
from training.loss_config import LOSSES, LossConfig
from training.losses.registry import Shape, build_criterion

DOCS = Path(__file__).parents[2] / "docs" / "training.md"


OPTIONS: dict[str, dict[str, Any]] = {"peer": {"peer": "TripletMarginLoss"}}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_built_from_its_defaults_and_is_documented(name: str) -> None:
    config = LossConfig(name=name, **OPTIONS.get(name, {}))  # type: ignore[arg-type]
    filled = {item.name for item in fields(config) if getattr(config, item.name) is not None} - {"name", "peer"}
    assert filled == {key for key, value in LOSSES[name].items() if value is not None}
    criterion = build_criterion(config, Shape(6, 3, 0.0))
    parts = criterion(torch.randn(12, 6), torch.arange(12) % 3)
    assert parts.loss.isfinite()
    text = DOCS.read_text(encoding="utf-8")
    [row] = [line for line in text.splitlines() if line.startswith(f"| `{name}` ")]
    assert [key for key in LOSSES[name] if f"`{key}`" not in row] == []


def test_a_parameter_of_another_loss_is_refused(make_config: Callable[..., Config]) -> None:
    says = r"cross_entropy takes no loss\.margin \(\w+ does\); it takes loss\.smoothing, loss\.smoothing_over"
    with pytest.raises(UsageError, match=says):
        make_config(loss__margin=0.1)
    assert make_config(loss__name="cosface", loss__margin=0.1).loss.margin == 0.1


def test_a_loss_that_does_not_exist_is_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(UsageError, match=r"`loss\.name` does not fit.*'cosface'"):
        make_config(loss__name="cosfase")


@pytest.mark.parametrize("over", ["wrong", "all"])
def test_both_smoothing_conventions(over: str) -> None:
    config = LossConfig(smoothing=0.2, smoothing_over=over)  # type: ignore[arg-type]
    criterion = build_criterion(config, Shape(4, 3, 0.0))
    torch.nn.init.normal_(criterion.get_parameter("classifier.linear.weight"))
    features, labels = torch.randn(8, 4), torch.arange(8) % 3
    logits = criterion.get_submodule("classifier")(features)
    torchs = 0.2 if over == "all" else 0.2 * 3 / 2
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=torchs)
    torch.testing.assert_close(criterion(features, labels).loss, expected)
