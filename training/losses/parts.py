"""What every loss is, and what it returns: how much of it pulls together, and how much pushes apart."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class LossParts(NamedTuple):
    """Scalars; loss = tightness + contrast, where the loss has such parts."""

    loss: Tensor
    tightness: Tensor | None  # falls as a class's features come together: a bound on H(Z|Y)
    contrast: Tensor | None  # falls as all features spread: a proxy for -H(Z)


def join_parts(tightness: Tensor, contrast: Tensor) -> LossParts:
    """The parts and their sum."""
    return LossParts(tightness + contrast, tightness, contrast)


class Criterion(nn.Module):
    """Features (n, d) and labels (n,) int64 -> `LossParts`. Its weights (classifier, proxies) are the model's."""

    compares_pairs = False  # if so, it sees the features before a BN-neck, as in arXiv 1903.07071

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The loss of a batch; features come in float32, and nothing is autocast."""
        raise NotImplementedError
