"""Plain cross-entropy with label smoothing, the paper's loss: no mining, no pairs.

Boudiaf et al., ECCV 2020, Table 2: tightness -(1/n) sum_i theta_yi . z_i, contrast (1/n) sum_i log sum_k
exp(theta_k . z_i). With smoothing the target q_i takes the place of the one right class in the tightness.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.losses.classifiers import LinearClassifier
from training.losses.parts import Criterion, LossParts, join_parts


class CrossEntropy(Criterion):
    """A linear classifier under cross-entropy."""

    def __init__(self, classifier: LinearClassifier, smoothing: float) -> None:
        """`smoothing` by the reference's convention."""
        super().__init__()
        self.classifier: nn.Module = classifier
        self.smoothing = smoothing

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts of the classifier's logits."""
        return cross_entropy(self.classifier(features), labels, self.smoothing)


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> LossParts:
    """The parts for logits (n, C), which contain the bias, and labels (n,) int64; at least in float32.

    Targets by the reference's convention: 1 - smoothing on the right class, smoothing / (C - 1) on each wrong one.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    right = logits.gather(1, labels[:, None])[:, 0]  # (n,)
    wrong = (logits.sum(dim=1) - right) / (logits.shape[1] - 1)  # (n,) mean over the wrong classes
    tightness = -((1 - smoothing) * right + smoothing * wrong).mean()
    return join_parts(tightness, torch.logsumexp(logits, dim=1).mean())


def over_wrong_classes(smoothing: float, convention: str, classes: int) -> float:
    """The reference's smoothing with the same target as `smoothing` has by a convention.

    `wrong`: the reference's own. `all`: torch's `label_smoothing`, eps / C on every class, the right one among them.
    """
    return smoothing if convention == "wrong" else smoothing * (classes - 1) / classes
