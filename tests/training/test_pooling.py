from __future__ import annotations

import pytest
import torch

from training.pooling import GeneralisedMeanPooling, build_pooling


def draw() -> torch.Tensor:
    return torch.rand(3, 5, 4, 6, generator=torch.Generator().manual_seed(0)) + 0.01


def test_the_generalised_mean_is_its_formula() -> None:
    found = build_pooling("generalised_mean", 2.5)(draw())
    values = draw().double().numpy().reshape(3, 5, 24)
    expected = (values**2.5).mean(axis=2) ** (1 / 2.5)
    torch.testing.assert_close(found, torch.from_numpy(expected).float())


def test_it_lies_between_the_average_and_the_maximum() -> None:
    average, largest = build_pooling("average", 3.0)(draw()), build_pooling("max", 3.0)(draw())
    torch.testing.assert_close(build_pooling("generalised_mean", 1.0)(draw()), average)
    mean = build_pooling("generalised_mean", 4.0)(draw())
    assert ((average < mean) & (mean < largest)).all()
    torch.testing.assert_close(build_pooling("generalised_mean", 100.0)(draw()), largest, rtol=0.05, atol=0)


@pytest.mark.parametrize("name", ["average", "generalised_mean"])
def test_the_spread_map_has_the_features_as_its_average(name: str) -> None:
    pooling = build_pooling(name, 3.0)
    spread = pooling.spread(draw())
    assert spread is not None
    torch.testing.assert_close(spread.mean(dim=(2, 3)), pooling(draw()))
    assert build_pooling("max", 3.0).spread(draw()) is None


def test_gradients_reach_the_exponent_and_survive_zeros() -> None:
    pooling = GeneralisedMeanPooling(3.0)
    values = torch.zeros(2, 3, 2, 2, requires_grad=True)
    pooling(values * 1.0 + torch.eye(2)).sum().backward()
    assert pooling.exponent.grad is not None
    assert pooling.exponent.grad.abs().item() > 0
    assert values.grad is not None
    assert values.grad.isfinite().all()
