"""Each pairwise loss against Table 2's sums, written out pair by pair, and its gradient against float64 differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from tests.training.losses.batches import Drawn, draw_batch, on_the_sphere, uneven_batches
from training.losses.classifiers import LinearClassifier
from training.losses.contrastive import contrastive
from training.losses.multi_similarity import multi_similarity
from training.losses.pairwise_cross_entropy import Pce, Spce, pce, spce
from training.losses.parts import LossParts
from training.losses.snca import snca

Function = Callable[[torch.Tensor, torch.Tensor], LossParts]
few = settings(max_examples=15, deadline=None)


def probabilities(batch: Drawn) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(batch.labels), batch.classes, generator=generator, dtype=torch.float64).softmax(dim=1)


def same(batch: Drawn, i: int, j: int) -> bool:
    return bool(batch.labels[i] == batch.labels[j])


def product(batch: Drawn, i: int, j: int) -> float:
    return float(batch.features[i] @ batch.features[j])


def check(parts: LossParts, tightness: float, contrast: float) -> None:
    assert float(parts.tightness) == pytest.approx(tightness, abs=1e-9)  # type: ignore[arg-type]
    assert float(parts.contrast) == pytest.approx(contrast, abs=1e-9)  # type: ignore[arg-type]
    assert float(parts.loss) == pytest.approx(tightness + contrast, abs=1e-9)


@few
@given(uneven_batches())
def test_contrastive(batch: Drawn) -> None:
    n = range(len(batch.labels))
    apart = [[float((batch.features[i] - batch.features[j]).norm()) for j in n] for i in n]
    tightness = sum(apart[i][j] ** 2 for i in n for j in n if same(batch, i, j)) / len(n)
    contrast = sum(max(0.0, 1.5 - apart[i][j]) ** 2 for i in n for j in n if not same(batch, i, j)) / len(n)
    check(contrastive(batch.features, batch.labels, 1.5), tightness, contrast)


@few
@given(uneven_batches())
def test_snca(batch: Drawn) -> None:
    batch = on_the_sphere(batch)
    n = range(len(batch.labels))
    friends = {i: [j for j in n if j != i and same(batch, i, j)] for i in n}
    counted = [i for i in n if friends[i]]
    if not counted:
        return check(snca(batch.features, batch.labels, 0.3), 0.0, 0.0)
    tightness = -sum(math.log(sum(math.exp(product(batch, i, j) / 0.3) for j in friends[i])) for i in counted)
    contrast = sum(math.log(sum(math.exp(product(batch, i, k) / 0.3) for k in n if k != i)) for i in counted)
    return check(snca(batch.features, batch.labels, 0.3), tightness / len(counted), contrast / len(counted))


@few
@given(uneven_batches())
def test_multi_similarity(batch: Drawn) -> None:
    batch = on_the_sphere(batch)
    n, alpha, beta, m = range(len(batch.labels)), 2.0, 9.0, 0.4
    tightness = contrast = 0.0
    for i in n:
        pulls = [math.exp(-alpha * (product(batch, i, j) - m)) for j in n if j != i and same(batch, i, j)]
        pushes = [math.exp(beta * (product(batch, i, j) - m)) for j in n if not same(batch, i, j)]
        tightness += math.log(1 + sum(pulls)) / alpha / len(n)
        contrast += math.log(1 + sum(pushes)) / beta / len(n)
    check(multi_similarity(batch.features, batch.labels, alpha, beta, m), tightness, contrast)


@few
@given(uneven_batches())
def test_spce(batch: Drawn) -> None:
    n = range(len(batch.labels))
    tightness = -sum(product(batch, i, j) for i in n for j in n if same(batch, i, j)) / len(n) ** 2
    contrast = 0.0
    for i in n:
        sums = [sum(product(batch, i, j) for j in n if batch.labels[j] == k) for k in range(batch.classes)]
        contrast += math.log(sum(math.exp(total / len(n)) for total in sums)) / len(n)
    check(spce(batch.features, batch.labels), tightness, contrast)


@few
@given(uneven_batches())
def test_pce(batch: Drawn) -> None:
    n, p, lam = range(len(batch.labels)), probabilities(batch), 0.7
    tightness = -sum(product(batch, i, j) for i in n for j in n if same(batch, i, j)) / (2 * lam * len(n) ** 2)
    contrast = 0.0
    for i in n:
        logits = [sum(float(p[j, k]) * product(batch, i, j) for j in n) / (lam * len(n)) for k in range(batch.classes)]
        contrast += math.log(sum(map(math.exp, logits))) / len(n)
    soft = [sum((p[i, k] * batch.features[i] for i in n), torch.zeros(1)) / len(n) for k in range(batch.classes)]
    contrast -= sum(float(s.square().sum()) for s in soft) / (2 * lam)
    check(pce(batch.features, batch.labels, p, lam), tightness, contrast)


FUNCTIONS: dict[str, Function] = {
    "contrastive": lambda z, y: contrastive(functional.normalize(z, dim=1), y, 1.1),
    "snca": lambda z, y: snca(functional.normalize(z, dim=1), y, 0.2),
    "multi_similarity": lambda z, y: multi_similarity(functional.normalize(z, dim=1), y, 2.0, 10.0, 0.5),
    "spce": spce,
    "pce": lambda z, y: pce(z, y, probabilities(draw_batch(3)), 0.5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str) -> None:
    batch = draw_batch(3)
    z = batch.features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(FUNCTIONS[name](x, batch.labels)), (z,))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_gradients_are_float64s(name: str) -> None:
    batch = draw_batch(3)
    precise, coarse = batch.features.clone().requires_grad_(), batch.features.float().requires_grad_()
    (expected,) = torch.autograd.grad(FUNCTIONS[name](precise, batch.labels).loss, precise)
    (found,) = torch.autograd.grad(FUNCTIONS[name](coarse, batch.labels).loss, coarse)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-3)


def test_two_equal_pictures_give_finite_gradients() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    for name, function in FUNCTIONS.items():
        if name == "pce":
            continue
        (found,) = torch.autograd.grad(function(z, torch.tensor([0, 0, 1, 1])).loss, z)
        assert found.isfinite().all(), name


def test_spce_does_not_mind_which_numbers_the_classes_have() -> None:
    batch = draw_batch(5)
    criterion = Spce(0.1)
    first = criterion(batch.features, batch.labels).loss
    torch.testing.assert_close(criterion(batch.features, 1000 + 7 * batch.labels).loss, first)
    torch.testing.assert_close(criterion(9 * batch.features, batch.labels).loss, first)


def test_pces_classifier_learns_from_its_own_cross_entropy_alone() -> None:
    batch = draw_batch(6)
    criterion = Pce(LinearClassifier(5, 4, 0.0), 0.1)
    features = batch.features.float().requires_grad_()
    parts = criterion(features, batch.labels)
    torch.testing.assert_close(parts.loss, parts.tightness + parts.contrast)
    parts.loss.backward()
    weight = criterion.classifier.linear.weight
    logits = functional.normalize(features.detach(), dim=1) / (0.1 / 4) ** 0.5 @ weight.detach().T
    residue = logits.softmax(dim=1) - functional.one_hot(batch.labels, 4)
    expected = residue.T @ (functional.normalize(features.detach(), dim=1) / (0.1 / 4) ** 0.5) / len(features)
    torch.testing.assert_close(weight.grad, expected)
