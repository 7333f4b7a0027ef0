from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from training.backbones import build_backbone
from training.batches import Batch
from training.config import Config
from training.losses.registry import Shape, build_criterion
from training.model import Learner, build_embedder
from training.parallel import Processes
from training.step import NotFiniteError, Stepper


@pytest.fixture
def make_stepper(make_config: Callable[..., Config]) -> Callable[..., Stepper]:
    def make(**changes: Any) -> Stepper:
        config = make_config(model__dropout=0.0, **changes)
        torch.manual_seed(0)
        backbone = build_backbone("test_efficientnet", "none")
        embedder = build_embedder(backbone, config.model)
        model = Learner(embedder, build_criterion(config.loss, Shape(embedder.size, 4, 0.0)))
        model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        return Stepper(config, model, backbone.preprocessing, Processes())

    return make


def draw(count: int, seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    return Batch(random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), random.integers(0, 4, count))


def weights(stepper: Stepper) -> torch.Tensor:
    return torch.cat([parameter.detach().ravel() for parameter in stepper.model.parameters()])


def test_accumulated_batches_are_the_batch(make_stepper: Callable[..., Stepper]) -> None:
    whole, parts = make_stepper(loss__name="cosface"), make_stepper(loss__name="cosface")
    batch = draw(8)
    halves = [Batch(batch.pixels[part], batch.labels[part]) for part in (slice(0, 4), slice(4, 8))]
    for _ in range(2):
        expected, found = whole.take([batch], 0.1), parts.take(halves, 0.1)
        assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-5, rtol=1e-4)


def test_a_clipped_step_is_no_longer_than_the_norm(make_stepper: Callable[..., Stepper]) -> None:
    plain: dict[str, Any] = {
        "optimiser__momentum": 0.0, "optimiser__nesterov": False, "optimiser__weight_decay": 0.0,
        "loss__name": "cosface",
    }  # fmt: skip
    clipped, free = make_stepper(**plain, optimiser__clip_norm=0.01), make_stepper(**plain)
    lengths = []
    for stepper in (clipped, free):
        before = weights(stepper)
        stepper.take([draw(8)], 0.5)
        lengths.append(float((weights(stepper) - before).norm()) / 0.5)
    assert lengths[0] == pytest.approx(0.01, rel=0.01)
    assert lengths[1] > 0.05


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_precisions(make_stepper: Callable[..., Stepper], precision: str, tolerance: float) -> None:
    exact, rough = (make_stepper(loss__name="cosface", train__precision=kind) for kind in ("float32", precision))
    before = weights(rough)
    losses = [exact.take([draw(8)], 0.001).loss, *(rough.take([draw(8)], 0.001).loss for _ in range(12))]
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    assert losses[1] != losses[0]
    assert weights(rough).dtype == torch.float32
    assert not torch.equal(weights(rough), before)  # float16's first steps may be left out, until the scale fits
    assert bool(rough.scaler.state_dict()) is (precision == "float16")


def test_adamw_steps_and_its_state_goes_on(make_stepper: Callable[..., Stepper]) -> None:
    options: dict[str, Any] = {"optimiser__name": "adamw", "optimiser__learning_rate": 1e-3, "train__ema": 0.5}
    first, second = make_stepper(**options), make_stepper(**options)
    first.take([draw(8)], 1e-3)
    second.load(copy.deepcopy(first.state()))
    for seed in (1, 2):
        assert first.take([draw(8, seed)], 1e-3) == second.take([draw(8, seed)], 1e-3)
    assert torch.equal(weights(first), weights(second))
    assert {type(stepper.optimiser) for stepper in (first, second)} == {torch.optim.AdamW}


def test_a_loss_that_is_not_finite_changes_nothing(make_stepper: Callable[..., Stepper]) -> None:
    stepper = make_stepper()
    with torch.no_grad():
        stepper.model.get_parameter("criterion.classifier.linear.bias")[1] = torch.nan
    before = weights(stepper)
    with pytest.raises(NotFiniteError, match="nan"):
        stepper.take([draw(8), draw(8, 1)], 0.1)
    torch.testing.assert_close(weights(stepper), before, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"optimiser__name": "adamw", "optimiser__momentum": 0.5},
            r"adamw takes no optimiser\.momentum",
        ),
        ({"optimiser__betas": [0.9, 0.99]}, r"sgd takes no optimiser\.betas; it takes momentum, nesterov"),
        ({"optimiser__momentum": 0.0}, "nesterov needs a momentum above 0"),
    ],
)
def test_options_of_the_other_optimiser_are_refused(
    make_config: Callable[..., Config], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Exception, match=says):
        make_config(**changes)
