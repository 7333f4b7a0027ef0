from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.losses.classifiers import CosineClassifier, LinearClassifier
from training.losses.normalised_softmax import ArcFace, CosFace, NormalisedSoftmax


def draw(count: int = 9, classes: int = 4, size: int = 6) -> tuple[torch.Tensor, torch.Tensor, CosineClassifier]:
    torch.manual_seed(0)
    features = 3 * torch.randn(count, size)
    return features, torch.randint(classes, (count,)), CosineClassifier(size, classes, 0.0)


def cosines(features: torch.Tensor, classifier: CosineClassifier) -> torch.Tensor:
    return functional.cosine_similarity(features[:, None], classifier.weight[None], dim=2)


def test_normalised_softmax_is_cross_entropy_of_scaled_cosines() -> None:
    features, labels, classifier = draw()
    parts = NormalisedSoftmax(classifier, 16.0, 0.0)(features, labels)
    torch.testing.assert_close(parts.loss, functional.cross_entropy(16 * cosines(features, classifier), labels))
    torch.testing.assert_close(parts.loss, parts.tightness + parts.contrast)
    longer = NormalisedSoftmax(classifier, 16.0, 0.0)(10 * features, labels)
    torch.testing.assert_close(longer.loss, parts.loss)


def test_cosface_takes_the_margin_off_the_right_cosine() -> None:
    features, labels, classifier = draw()
    logits = cosines(features, classifier)
    logits[torch.arange(len(labels)), labels] -= 0.2
    found = CosFace(classifier, 10.0, 0.2, 0.0)(features, labels).loss
    torch.testing.assert_close(found, functional.cross_entropy(10 * logits, labels))


def test_arcface_widens_the_right_angle() -> None:
    features, labels, classifier = draw()
    logits = cosines(features, classifier)
    right = torch.arange(len(labels)), labels
    logits[right] = torch.cos(torch.acos(logits[right]) + 0.3)
    found = ArcFace(classifier, 10.0, 0.3, 0.0)(features, labels).loss
    torch.testing.assert_close(found, functional.cross_entropy(10 * logits, labels))


def test_arcface_keeps_falling_past_pi_and_has_finite_gradients() -> None:
    loss = ArcFace(CosineClassifier(2, 2, 0.0), 1.0, 0.5, 0.0)
    angles = torch.linspace(0, math.pi, 200)
    right = torch.stack([torch.cos(angles), torch.zeros(200)], dim=1).requires_grad_()
    moved = loss.with_margin(right, torch.zeros(200, dtype=torch.int64))[:, 0]
    assert (moved.diff() <= 1e-6).all()
    moved.sum().backward()
    assert right.grad is not None
    assert right.grad.isfinite().all()


@pytest.mark.parametrize("classifier", [LinearClassifier(3, 2, 0.5), CosineClassifier(3, 2, 0.5)])
def test_dropout_is_the_classifiers(classifier: nn.Module) -> None:
    assert [module.p for module in classifier.modules() if isinstance(module, nn.Dropout)] == [0.5]


def test_a_linear_classifier_starts_at_zero_with_a_bias() -> None:
    classifier = LinearClassifier(6, 4, 0.5)
    assert not classifier(torch.randn(3, 6)).any()
    assert classifier.linear.bias is not None
