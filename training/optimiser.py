"""Parameters -> an optimiser whose weight decay leaves one-dimensional parameters alone, as in the recipe."""

from __future__ import annotations

from torch import nn, optim

from training.config import OptimiserConfig


def build_optimiser(encoder: nn.Module, criterion: nn.Module, config: OptimiserConfig) -> optim.Optimizer:
    """An optimiser over what decays (two and more dimensions) and what does not, of the encoder and of the loss.

    The loss's own weights have `classifier_rate` times the learning rate.
    """
    groups = [
        *_groups(encoder, config.weight_decay, 1.0),
        *_groups(criterion, config.weight_decay, config.classifier_rate),
    ]
    if config.name == "adamw":
        return optim.AdamW(groups, lr=config.learning_rate, betas=config.betas or (0.9, 0.999))
    momentum, nesterov = config.momentum or 0.0, bool(config.nesterov)
    return optim.SGD(groups, lr=config.learning_rate, momentum=momentum, nesterov=nesterov)


def _groups(module: nn.Module, decay: float, factor: float) -> list[dict[str, object]]:
    """What decays and what does not; groups without parameters are left out."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        ([p for p in parameters if p.ndim > 1], decay),
        ([p for p in parameters if p.ndim <= 1], 0.0),
    ]
    return [{"params": found, "weight_decay": decay, "factor": factor} for found, decay in groups if found]


def set_learning_rate(optimiser: optim.Optimizer, rate: float) -> None:
    """The rate of the next step; each group has its factor of it."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
