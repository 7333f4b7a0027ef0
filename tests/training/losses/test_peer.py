from __future__ import annotations

import sys

import pytest
import torch

from index.errors import UsageError
from training.loss_config import LossConfig
from training.losses.registry import Shape, build_criterion

SHAPE = Shape(6, 3, 0.0)
missing = pytest.importorskip("pytorch_metric_learning", reason="pip install '.[peers]'") is None


def draw() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(12, 6, requires_grad=True), torch.arange(12) % 3


def test_triplets_with_a_miner() -> None:
    from pytorch_metric_learning import losses, miners  # noqa: PLC0415

    features, labels = draw()
    config = LossConfig(
        name="peer",
        peer="TripletMarginLoss",
        peer_options={"margin": 0.3},
        miner="TripletMarginMiner",
        miner_options={"type_of_triplets": "semihard"},
    )
    parts = build_criterion(config, SHAPE)(features, labels)
    miner = miners.TripletMarginMiner(type_of_triplets="semihard")
    expected = losses.TripletMarginLoss(margin=0.3)(features, labels, miner(features, labels))
    torch.testing.assert_close(parts.loss, expected)
    assert parts.tightness is parts.contrast is None


def test_proxies_are_the_models_parameters_and_get_their_sizes() -> None:
    features, labels = draw()
    criterion = build_criterion(LossConfig(name="peer", peer="ProxyAnchorLoss"), SHAPE)
    assert {name: tuple(p.shape) for name, p in criterion.named_parameters()} == {"loss.proxies": (3, 6)}
    criterion(features, labels).loss.backward()
    assert criterion.get_parameter("loss.proxies").grad is not None
    assert features.grad is not None


def test_names_and_options_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match=r"loss\.peer: .*no such class.*did you mean `TripletMarginLoss`"):
        build_criterion(LossConfig(name="peer", peer="TripletMargin"), SHAPE)
    with pytest.raises(UsageError, match=r"loss\.miner: .*did you mean `BatchHardMiner`"):
        build_criterion(LossConfig(name="peer", peer="ProxyAnchorLoss", miner="BatchHard"), SHAPE)
    with pytest.raises(UsageError, match=r"loss\.peer_options: TripletMarginLoss does not take.*margn"):
        build_criterion(LossConfig(name="peer", peer="TripletMarginLoss", peer_options={"margn": 1}), SHAPE)
    with pytest.raises(ValueError, match=r"peer needs loss\.peer"):
        LossConfig(name="peer")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[peers\]'"):
        build_criterion(LossConfig(name="peer", peer="ProxyAnchorLoss"), SHAPE)
