"""Classifiers: the weights that the classification losses own, behind drop-out that is on this path alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class LinearClassifier(nn.Module):
    """Features (n, d) -> logits (n, C); with bias, and all zero at the start, as in the reference."""

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.linear(self.dropout(features))
        return logits


class CosineClassifier(nn.Module):
    """Features (n, d) -> cosines (n, C) with a unit direction a class; no bias."""

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(nn.init.xavier_normal_(nn.Linear(features, classes).weight.data))

    def forward(self, features: Tensor) -> Tensor:
        """The cosines."""
        directions = functional.normalize(self.weight, dim=1)
        return functional.linear(functional.normalize(self.dropout(features), dim=1), directions)
