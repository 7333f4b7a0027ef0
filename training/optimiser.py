"""Parameters -> an SGD optimiser whose weight decay leaves one-dimensional parameters alone, as in the recipe."""

from __future__ import annotations

from torch import nn, optim

from training.config import OptimiserConfig


def build_optimiser(model: nn.Module, config: OptimiserConfig) -> optim.SGD:
    """SGD over two groups: what decays (two and more dimensions) and what does not (biases, norms)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.nesterov)


def set_learning_rate(optimiser: optim.SGD, rate: float) -> None:
    """The rate of the next step, for every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate
