"""The multi-similarity loss (Wang et al., CVPR 2019), as in Table 2 of Boudiaf et al., ECCV 2020, without mining.

Tightness (1/n) sum_i (1/alpha) log[1 + sum_{j != i: yj = yi} exp(-alpha (cos_ij - m))],
contrast (1/n) sum_i (1/beta) log[1 + sum_{j: yj != yi} exp(beta (cos_ij - m))].
The margin m inside both terms is the least certain entry of our reconstruction; Wang et al. have it in both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.pairs import masked_logsumexp, others, same_label, unit
from training.losses.parts import Criterion, LossParts, join_parts


class MultiSimilarity(Criterion):
    """Soft weights: near strangers and far friends count most."""

    compares_pairs = True

    def __init__(self, alpha: float, beta: float, margin: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.margin = margin

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts over all pairs of the batch."""
        return multi_similarity(unit(features), labels, self.alpha, self.beta, self.margin)


def multi_similarity(features: Tensor, labels: Tensor, alpha: float, beta: float, margin: float) -> LossParts:
    """The parts of unit features (n, d)."""
    cosines, same = features @ features.T - margin, same_label(labels)
    friends = same & others(len(features), features.device)
    return join_parts(_log_one_plus(-alpha * cosines, friends) / alpha, _log_one_plus(beta * cosines, ~same) / beta)


def _log_one_plus(exponents: Tensor, mask: Tensor) -> Tensor:
    """The mean over rows of log(1 + sum of exp over the True places)."""
    one = torch.zeros_like(exponents[:, :1])  # exp(0)
    always = torch.ones_like(mask[:, :1])
    return masked_logsumexp(torch.cat([exponents, one], dim=1), torch.cat([mask, always], dim=1)).mean()
