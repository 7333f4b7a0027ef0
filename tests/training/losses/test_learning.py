"""Every loss can be trained with: on a small problem whose classes hide in noise, retrieval of new points improves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from training.loss_config import LOSSES, LossConfig
from training.losses.registry import Shape, build_criterion

CLASSES, SIGNAL, NOISE = 6, 3, 24
OPTIONS: dict[str, dict[str, Any]] = {
    "peer": {"peer": "TripletMarginLoss", "miner": "BatchHardMiner"},
    "center": {"weight": 1e-3},
}


def draw_points(per_class: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points whose class shows in 3 of 27 coordinates; the other 24 are louder."""
    directions = torch.randn(CLASSES, SIGNAL, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(per_class)
    signal = 2 * directions[labels] + 0.15 * torch.randn(len(labels), SIGNAL, generator=generator)
    return torch.cat([signal, torch.randn(len(labels), NOISE, generator=generator)], dim=1), labels


def recall_at_1(features: torch.Tensor, labels: torch.Tensor) -> float:
    unit = nn.functional.normalize(features, dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    return float((labels[cosines.argmax(dim=1)] == labels).float().mean())


@pytest.mark.parametrize("name", LOSSES)
def test_retrieval_of_new_points_improves(name: str) -> None:
    if name == "peer":
        pytest.importorskip("pytorch_metric_learning", reason="pip install '.[peers]'")
    torch.manual_seed(0)
    points, labels = draw_points(40, seed=1)
    new, new_labels = draw_points(10, seed=2)
    encoder = nn.Linear(SIGNAL + NOISE, 8)
    criterion = build_criterion(LossConfig(name=name, **OPTIONS.get(name, {})), Shape(8, CLASSES, 0.0))  # type: ignore
    optimiser = torch.optim.Adam([*encoder.parameters(), *criterion.parameters()], lr=0.03)
    before = recall_at_1(encoder(new).detach(), new_labels)
    values = []
    for _ in range(100):
        parts = criterion(encoder(points), labels)
        optimiser.zero_grad()
        parts.loss.backward()
        optimiser.step()
        values.append(float(parts.loss.detach()))
    after = recall_at_1(encoder(new).detach(), new_labels)
    assert before < 0.5
    assert after > 0.85
    assert values[-1] < values[0]
