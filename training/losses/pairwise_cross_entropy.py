"""PCE and SPCE: cross-entropy seen as pairwise losses (Boudiaf et al., ECCV 2020, section 4 and Table 2).

With h_k = (1/n) sum_{i in class k} z_i and s_k = (1/n) sum_i p_ik z_i:

SPCE: tightness -sum_k |h_k|^2, contrast (1/n) sum_i log sum_k exp(h_k . z_i). It is cross-entropy with theta_k = h_k.
PCE(lambda): tightness -(1/(2 lambda)) sum_k |h_k|^2, contrast (1/n) sum_i log sum_k exp(s_k . z_i / lambda)
- (1/(2 lambda)) sum_k |s_k|^2.

These are Table 2's sums over pairs, written with the classes' sums. The formulas are reconstructed (docs/training.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.classifiers import LinearClassifier
from training.losses.cross_entropy import cross_entropy
from training.losses.pairs import unit
from training.losses.parts import Criterion, LossParts, join_parts


class Spce(Criterion):
    """On unit features z_i sqrt(K / temperature), K the classes of the batch.

    Unit features alone give logits of the order 1 / K. So scaled, and with equally many pictures in each class, a
    logit is the mean cosine with a class over the temperature.
    """

    compares_pairs = True

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts over the classes of the batch."""
        classes, numbers = torch.unique(labels, return_inverse=True)
        return spce(unit(features) * (len(classes) / self.temperature) ** 0.5, numbers)


class Pce(Criterion):
    """On unit features, lambda = temperature / K, K the classes of the batch.

    A linear classifier gives p and learns by its own cross-entropy: both sides of Proposition 1's alternation at once.
    """

    compares_pairs = True

    def __init__(self, classifier: LinearClassifier, temperature: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = temperature

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts for the classifier's present probabilities; its own cross-entropy adds a gradient and no value."""
        directions = unit(features)
        regulariser = self.temperature / len(torch.unique(labels))
        logits = self.classifier(directions.detach() / regulariser**0.5)
        parts = pce(directions, labels, logits.detach().softmax(dim=1), regulariser)
        learning = cross_entropy(logits, labels, 0.0).loss
        return parts._replace(loss=parts.loss + learning - learning.detach())


def spce(features: Tensor, labels: Tensor) -> LossParts:
    """The parts of features (n, d) as they are, for labels 0..C-1."""
    means = class_sums(features, labels, int(labels.max()) + 1) / len(features)  # (C, d)
    contrast = torch.logsumexp(features @ means.T, dim=1).mean()
    return join_parts(-means.square().sum(), contrast)


def pce(features: Tensor, labels: Tensor, probabilities: Tensor, regulariser: float) -> LossParts:
    """The parts of features (n, d) with softmax probabilities (n, C)."""
    count = len(features)
    hard = class_sums(features, labels, probabilities.shape[1]) / count  # (C, d)
    soft = probabilities.to(features.dtype).T @ features / count  # (C, d)
    contrast = torch.logsumexp(features @ soft.T / regulariser, dim=1).mean()
    tightness = -hard.square().sum() / (2 * regulariser)
    return join_parts(tightness, contrast - soft.square().sum() / (2 * regulariser))


def class_sums(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(C, d): the sum of each class's features."""
    return functional.one_hot(labels, classes).to(features.dtype).T @ features
