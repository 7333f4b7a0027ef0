import pytest
import torch
from torch.nn import functional

from training.losses.cross_entropy import cross_entropy


def draw(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = 5 * torch.randn(64, classes, generator=generator, dtype=torch.float64).float()
    return logits, torch.randint(classes, (64,), generator=generator)


@pytest.mark.parametrize("classes", [2, 3, 41])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_equals_torch_with_the_smoothing_converted(classes: int, smoothing: float) -> None:
    logits, labels = draw(classes)
    if smoothing * classes / (classes - 1) > 1:
        pytest.skip("torch's convention has no such target")
    expected = functional.cross_entropy(logits, labels, label_smoothing=smoothing * classes / (classes - 1))
    torch.testing.assert_close(cross_entropy(logits, labels, smoothing).loss, expected)


def test_torchs_own_convention_gives_another_loss() -> None:
    logits, labels = draw(5)
    other = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert abs(cross_entropy(logits, labels, 0.1).loss - other) > 0.01


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_tightness_and_contrast_make_the_loss(smoothing: float) -> None:
    logits, labels = draw(7)
    parts = cross_entropy(logits, labels, smoothing)
    torch.testing.assert_close(parts.tightness + parts.contrast, parts.loss)


def test_the_parts_are_those_of_table_2() -> None:
    generator = torch.Generator().manual_seed(0)
    features, theta = (torch.randn(n, 4, generator=generator) for n in (10, 3))
    labels = torch.randint(3, (10,), generator=generator)
    parts = cross_entropy(features @ theta.T, labels, 0.0)
    tightness = -sum(float(theta[label] @ z) for z, label in zip(features, labels, strict=True)) / 10
    contrast = sum(float(torch.log(torch.exp(theta @ z).sum())) for z in features) / 10
    assert float(parts.tightness) == pytest.approx(tightness, abs=1e-5)
    assert float(parts.contrast) == pytest.approx(contrast, abs=1e-5)


def test_the_gradient_equals_torchs_in_float64() -> None:
    logits, labels = draw(6)
    ours, theirs = logits.clone().requires_grad_(), logits.double().requires_grad_()
    (found,) = torch.autograd.grad(cross_entropy(ours, labels, 0.1).loss, ours)
    (expected,) = torch.autograd.grad(functional.cross_entropy(theirs, labels, label_smoothing=0.1 * 6 / 5), theirs)
    torch.testing.assert_close(found.double(), expected, atol=1e-7, rtol=1e-4)
