"""What the paper's theory says of the losses, where it holds for every input (paper: Boudiaf et al., ECCV 2020).

CE >= PCE is not among it: it does not hold in general.
"""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.losses.batches import Drawn, batches, on_the_sphere, uneven_batches
from training.losses.center import class_means, tightness_around
from training.losses.contrastive import contrastive
from training.losses.cross_entropy import cross_entropy
from training.losses.multi_similarity import multi_similarity
from training.losses.pairwise_cross_entropy import class_sums, pce, spce
from training.losses.snca import snca

SLACK = 1e-9
temperatures = st.floats(0.02, 3.0)
seeds = st.integers(0, 2**31)
few = settings(max_examples=40, deadline=None)


def draw_classifier(batch: Drawn, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch.classes, batch.features.shape[1], generator=generator, dtype=torch.float64)


def hard_means(batch: Drawn) -> torch.Tensor:
    """theta_k = (1/n) sum_{i in class k} z_i."""
    return class_sums(batch.features, batch.labels, batch.classes) / len(batch.labels)


@few
@given(uneven_batches())
def test_spce_is_cross_entropy_at_the_classes_sums(batch: Drawn) -> None:
    ours = spce(batch.features, batch.labels)
    theirs = cross_entropy(batch.features @ hard_means(batch).T, batch.labels, 0.0)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected)


@few
@given(uneven_batches())
def test_the_best_classifiers_cross_entropy_is_at_most_spce(batch: Drawn) -> None:
    theta = hard_means(batch).requires_grad_()
    optimiser = torch.optim.LBFGS([theta], max_iter=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(batch.features @ theta.T, batch.labels, 0.0).loss
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = cross_entropy(batch.features @ theta.T, batch.labels, 0.0).loss
    assert found <= spce(batch.features, batch.labels).loss + SLACK


@few
@given(uneven_batches(), temperatures, seeds)
def test_cross_entropys_regularised_tightness_is_bounded_by_pces(batch: Drawn, regulariser: float, seed: int) -> None:
    uniform = torch.full((len(batch.labels), batch.classes), 1 / batch.classes, dtype=torch.float64)
    bound = pce(batch.features, batch.labels, uniform, regulariser).tightness

    def f1(theta: torch.Tensor) -> torch.Tensor:
        tightness = cross_entropy(batch.features @ theta.T, batch.labels, 0.0).tightness
        assert tightness is not None
        return tightness + regulariser / 2 * theta.square().sum()

    assert bound is not None
    assert f1(draw_classifier(batch, seed)) >= bound - SLACK
    torch.testing.assert_close(f1(hard_means(batch) / regulariser), bound)  # tight at its minimum


@few
@given(uneven_batches(), temperatures)
def test_pce_of_certain_probabilities_is_spce_of_scaled_features(batch: Drawn, regulariser: float) -> None:
    certain = torch.nn.functional.one_hot(batch.labels, batch.classes).double()
    found = pce(batch.features, batch.labels, certain, regulariser).loss
    expected = spce(batch.features / math.sqrt(regulariser), batch.labels).loss
    torch.testing.assert_close(found, expected)


@few
@given(st.integers(1, 5), st.integers(2, 5), st.integers(4, 40), seeds)
def test_cross_entropy_is_at_least_the_conditional_entropy(points: int, classes: int, count: int, seed: int) -> None:
    """Lemma 2, on features that take few values, whose H(Y|Z) is a finite sum; tight for the optimal classifier."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(points, (count,), generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    joint = torch.zeros(points, classes, dtype=torch.float64)
    joint.index_put_((places, labels), torch.ones(count, dtype=torch.float64), accumulate=True)
    conditional = joint / joint.sum(dim=1, keepdim=True).clamp(min=1)
    entropy = -(torch.special.xlogy(joint, conditional)).sum() / count
    theta = 3 * torch.randn(points, classes, generator=generator, dtype=torch.float64)
    assert cross_entropy(theta[places], labels, 0.0).loss >= entropy - SLACK
    optimal = conditional.clamp(min=1e-30).log()
    torch.testing.assert_close(cross_entropy(optimal[places], labels, 0.0).loss, entropy)


@few
@given(batches)
def test_contrastive_tightness_is_centers_on_balanced_classes(batch: Drawn) -> None:
    """Lemma 1's equality, with its constant: sum_ij D_ij^2 within a class of m is 2 m sum_i |z_i - c|^2."""
    count, per_class = len(batch.labels), len(batch.labels) // batch.classes
    centre = tightness_around(batch.features, batch.labels, class_means(batch.features, batch.labels, batch.classes))
    found = contrastive(batch.features, batch.labels, 1.0).tightness
    torch.testing.assert_close(found, 4 * per_class / count * centre)


@few
@given(batches, temperatures)
def test_snca_tightness_is_below_contrastives_on_the_sphere(batch: Drawn, sigma: float) -> None:
    """Lemma 1's first inequality with its constants, by Jensen over the m - 1 others of a class."""
    batch = on_the_sphere(batch)
    others = len(batch.labels) // batch.classes - 1
    pulled = contrastive(batch.features, batch.labels, 1.0).tightness
    found = snca(batch.features, batch.labels, sigma).tightness
    assert pulled is not None
    assert found is not None
    assert found <= (pulled / (2 * others) - 1) / sigma - math.log(others) + SLACK


@few
@given(batches, st.floats(0.5, 8.0), st.floats(0.0, 1.0))
def test_multi_similarity_tightness_is_above_contrastives_on_the_sphere(
    batch: Drawn, alpha: float, margin: float
) -> None:
    """Lemma 1's second inequality with its constants: log(1 + sum) >= log(sum), then Jensen."""
    batch = on_the_sphere(batch)
    others = len(batch.labels) // batch.classes - 1
    pulled = contrastive(batch.features, batch.labels, 1.0).tightness
    found = multi_similarity(batch.features, batch.labels, alpha, 10.0, margin).tightness
    assert pulled is not None
    assert found is not None
    assert found >= pulled / (2 * others) - 1 + margin + math.log(others) / alpha - SLACK
