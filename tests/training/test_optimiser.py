from __future__ import annotations

from torch import nn

from training.config import OptimiserConfig
from training.optimiser import build_optimiser, set_learning_rate


def test_only_parameters_of_two_and_more_dimensions_decay() -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    criterion = nn.Linear(4, 2)
    optimiser = build_optimiser(encoder, criterion, OptimiserConfig(weight_decay=0.5, classifier_rate=10.0))
    groups = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    named = dict(nn.Sequential(encoder, criterion).named_parameters())
    assert {name: groups[id(p)]["weight_decay"] for name, p in named.items()} == {
        "0.0.weight": 0.5, "0.0.bias": 0.0, "0.1.weight": 0.0, "0.1.bias": 0.0, "1.weight": 0.5, "1.bias": 0.0,
    }  # fmt: skip
    set_learning_rate(optimiser, 0.125)
    assert {name: groups[id(p)]["lr"] for name, p in named.items()} == {
        name: 1.25 if name.startswith("1.") else 0.125 for name in named
    }


def test_a_loss_without_weights_has_no_group() -> None:
    optimiser = build_optimiser(nn.Conv2d(3, 4, 3), nn.Identity(), OptimiserConfig())
    assert [len(group["params"]) for group in optimiser.param_groups] == [1, 1]
