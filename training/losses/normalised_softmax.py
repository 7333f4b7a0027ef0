"""Cross-entropy on scaled cosines: normalised softmax (NormFace, arXiv 1704.06369; Zhai and Wu, arXiv 1811.12649).

CosFace (arXiv 1801.09414, equation 4) takes a margin off the right class's cosine, ArcFace (arXiv 1801.07698,
equation 3) adds one to its angle. The parts are cross-entropy's, of these logits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.classifiers import CosineClassifier
from training.losses.cross_entropy import cross_entropy
from training.losses.parts import Criterion, LossParts

_EDGE = 1e-7  # the derivative of arccos has no bound at 1


class NormalisedSoftmax(Criterion):
    """logit_k = scale * cos_k."""

    def __init__(self, classifier: CosineClassifier, scale: float, smoothing: float) -> None:
        """`smoothing` by the reference's convention."""
        super().__init__()
        self.classifier = classifier
        self.scale = scale
        self.smoothing = smoothing

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The parts of the scaled cosines."""
        cosines = self.with_margin(self.classifier(features), labels)
        return cross_entropy(self.scale * cosines, labels, self.smoothing)

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """(n, C) cosines as they are."""
        return cosines


class CosFace(NormalisedSoftmax):
    """logit_y = scale * (cos_y - margin) for the right class y."""

    def __init__(self, classifier: CosineClassifier, scale: float, margin: float, smoothing: float) -> None:
        super().__init__(classifier, scale, smoothing)
        self.margin = margin

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """(n, C) cosines, the right class's less the margin."""
        return cosines - self.margin * functional.one_hot(labels, cosines.shape[1])


class ArcFace(NormalisedSoftmax):
    """logit_y = scale * cos(angle_y + margin) for the right class y."""

    def __init__(self, classifier: CosineClassifier, scale: float, margin: float, smoothing: float) -> None:
        """`margin` in radians."""
        super().__init__(classifier, scale, smoothing)
        self.margin = margin

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """(n, C) cosines, the right class's at the wider angle.

        Where the angle would pass pi the cosine would rise again; there, as in the authors' code, margin * sin(margin)
        is taken off instead.
        """
        right = cosines.gather(1, labels[:, None]).clamp(-1 + _EDGE, 1 - _EDGE)
        wider = torch.cos(torch.acos(right) + self.margin)
        falling = right - self.margin * math.sin(self.margin)
        moved = torch.where(right > math.cos(math.pi - self.margin), wider, falling)
        return cosines.scatter(1, labels[:, None], moved)
