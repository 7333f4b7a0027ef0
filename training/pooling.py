"""A feature map (n, c, h, w) -> features (n, c): the average, the largest value, or the generalised mean between them.

What may change here: more poolings. Each also says which map has its features as the average, so that a picture's
regions can be explained whatever the pooling; the maximum has none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST = 1e-6  # of a feature map's value, for powers of it


class AveragePooling(nn.Module):
    """The mean over the places."""

    def forward(self, feature_map: Tensor) -> Tensor:
        """(n, c)."""
        return feature_map.mean(dim=(2, 3))

    def spread(self, feature_map: Tensor) -> Tensor | None:
        """The map itself: its average is the features."""
        return feature_map


class MaxPooling(nn.Module):
    """The largest value over the places."""

    def forward(self, feature_map: Tensor) -> Tensor:
        """(n, c)."""
        return feature_map.amax(dim=(2, 3))

    def spread(self, feature_map: Tensor) -> Tensor | None:
        """None: one place alone counts."""
        return None


class GeneralisedMeanPooling(nn.Module):
    """(mean of x^p)^(1/p) over the places with a trained p (Radenovic et al., arXiv 1711.02512, equation 3)."""

    def __init__(self, exponent: float) -> None:
        """`exponent`: p at the start; 1 is the average, infinity the maximum."""
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor([exponent]))

    def forward(self, feature_map: Tensor) -> Tensor:
        """(n, c) float32."""
        powers = feature_map.float().clamp(min=_LEAST).pow(self.exponent)
        return powers.mean(dim=(2, 3)).pow(1 / self.exponent)

    def spread(self, feature_map: Tensor) -> Tensor | None:
        """x^p g^(1 - p), g the pooled features: (n, c, h, w) whose average is g."""
        pooled = self(feature_map)[:, :, None, None]
        powers: Tensor = feature_map.float().clamp(min=_LEAST).pow(self.exponent)
        spread: Tensor = powers * pooled.pow(1 - self.exponent)
        return spread


def build_pooling(name: str, exponent: float) -> AveragePooling | MaxPooling | GeneralisedMeanPooling:
    """`average`, `max` or `generalised_mean`."""
    if name == "generalised_mean":
        return GeneralisedMeanPooling(exponent)
    return AveragePooling() if name == "average" else MaxPooling()
