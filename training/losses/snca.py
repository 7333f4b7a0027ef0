"""Scalable neighbourhood component analysis (Wu et al., ECCV 2018), as in Table 2 of Boudiaf et al., ECCV 2020.

Tightness -(1/n) sum_i log sum_{j != i: yj = yi} exp(cos_ij / sigma), contrast (1/n) sum_i log sum_{k != i}
exp(cos_ik / sigma). That j is not i on the left too is Wu et al.'s (p_ii = 0).
"""

from __future__ import annotations

from torch import Tensor

from training.losses.pairs import masked_logsumexp, others, same_label, unit
from training.losses.parts import Criterion, LossParts, join_parts


class Snca(Criterion):
    """Each picture's neighbours shall be of its class, softly."""

    compares_pairs = True

    def __init__(self, sigma: float) -> None:
        """`sigma`: the temperature."""
        super().__init__()
        self.sigma = sigma

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts over the batch; pictures that are alone in their class count for neither."""
        return snca(unit(features), labels, self.sigma)


def snca(features: Tensor, labels: Tensor, sigma: float) -> LossParts:
    """The parts of unit features (n, d). Zero, with a gradient of zero, where no class has two pictures."""
    cosines = features @ features.T / sigma
    elsewhere = others(len(features), features.device)
    friends = same_label(labels) & elsewhere
    accompanied = friends.any(dim=1)
    if not accompanied.any():
        nothing = features.sum() * 0
        return join_parts(nothing, nothing)
    rows = cosines[accompanied]
    tightness = -masked_logsumexp(rows, friends[accompanied]).mean()
    return join_parts(tightness, masked_logsumexp(rows, elsewhere[accompanied]).mean())
