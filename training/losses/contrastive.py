"""The contrastive loss (Hadsell et al., CVPR 2006), as in Table 2 of Boudiaf et al., ECCV 2020.

Tightness (1/n) sum_i sum_{j: yj = yi} D_ij^2, contrast (1/n) sum_i sum_{j: yj != yi} [xi - D_ij]+^2.
"""

from __future__ import annotations

from torch import Tensor

from training.losses.pairs import distances, same_label, unit
from training.losses.parts import Criterion, LossParts, join_parts


class Contrastive(Criterion):
    """On unit features, whose distances lie in 0..2."""

    compares_pairs = True

    def __init__(self, margin: float) -> None:
        """`margin`: xi, from which on pictures of two classes are left alone."""
        super().__init__()
        self.margin = margin

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts over all pairs of the batch."""
        return contrastive(unit(features), labels, self.margin)


def contrastive(features: Tensor, labels: Tensor, margin: float) -> LossParts:
    """The parts of features (n, d) as they are."""
    apart, same, count = distances(features), same_label(labels), len(features)
    hinge = (margin - apart).clamp(min=0)
    return join_parts((apart.square() * same).sum() / count, (hinge.square() * ~same).sum() / count)
