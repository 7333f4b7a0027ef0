from __future__ import annotations

from torch import nn

from training.config import OptimiserConfig
from training.optimiser import build_optimiser, set_learning_rate


def test_only_parameters_of_two_and_more_dimensions_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimiser = build_optimiser(model, OptimiserConfig(weight_decay=0.5))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.5, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "3.weight": 0.5, "3.bias": 0.0,
    }  # fmt: skip
    set_learning_rate(optimiser, 0.125)
    assert [group["lr"] for group in optimiser.param_groups] == [0.125, 0.125]
