"""The center loss (Wen et al., ECCV 2016) beside cross-entropy, as in Table 2 of Boudiaf et al., ECCV 2020.

Tightness 1/2 sum_i |z_i - c_yi|^2, contrast -(1/n) sum_i log p_i,yi, which is cross-entropy whole. `weight` multiplies
the tightness: the sum grows with the batch, the mean beside it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.classifiers import LinearClassifier
from training.losses.cross_entropy import cross_entropy
from training.losses.parts import Criterion, LossParts, join_parts


class Center(Criterion):
    """A linear classifier, and a centre a class that follows the class's features."""

    centres: Tensor
    known: Tensor

    def __init__(self, classifier: LinearClassifier, weight: float, centre_rate: float) -> None:
        """`centre_rate`: how far a centre moves to its class's mean in a batch (the authors' alpha)."""
        super().__init__()
        self.classifier = classifier
        self.weight = weight
        self.centre_rate = centre_rate
        shape = classifier.linear.weight.shape
        self.register_buffer("centres", torch.zeros(shape))  # (C, d)
        self.register_buffer("known", torch.zeros(shape[0], dtype=torch.bool))  # (C,) seen in a batch before

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts around the centres; in training the centres move first."""
        precise = features.float()
        if self.training:
            self._move(precise.detach(), labels)
        contrast = cross_entropy(self.classifier(features), labels, 0.0).loss
        return join_parts(self.weight * tightness_around(precise, labels, self.centres), contrast)

    def _move(self, features: Tensor, labels: Tensor) -> None:
        """Equation 4 of the authors: c += rate * sum(z - c) / (1 + n_k); a class's first mean is its first centre."""
        counts = torch.bincount(labels, minlength=len(self.centres)).to(features.dtype)[:, None]  # (C, 1)
        sums = torch.zeros_like(self.centres).index_add_(0, labels, features)
        seen = counts[:, 0] > 0
        new = seen & ~self.known
        moved = self.centres + self.centre_rate * (sums - counts * self.centres) / (1 + counts)
        first = sums / counts.clamp(min=1)
        self.centres.copy_(torch.where(new[:, None], first, moved))
        self.known |= seen


def tightness_around(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """1/2 sum_i |z_i - c_yi|^2 for centres (C, d)."""
    return (features - centres[labels]).square().sum() / 2


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(C, d): the mean of each class's features; zero for a class that has none."""
    sums = torch.zeros(classes, features.shape[1], dtype=features.dtype, device=features.device)
    counts = torch.bincount(labels, minlength=classes).clamp(min=1).to(features.dtype)
    return sums.index_add(0, labels, features) / counts[:, None]
