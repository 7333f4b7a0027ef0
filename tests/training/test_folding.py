from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from training.backbones import build_backbone
from training.config import ModelConfig
from training.folding import find_pairs, folded
from training.model import build_embedder


def shake(network: nn.Module) -> nn.Module:
    """Statistics and weights that are not those of a new layer."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network.double().eval()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "tf_efficientnet_lite0"])
def test_values_and_gradients_are_those_of_the_network(name: str) -> None:
    network = shake(timm.create_model(name, num_classes=0))
    pictures = torch.randn(2, 3, 48, 48, dtype=torch.float64)

    def gradients() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        network.zero_grad()
        output = network(pictures)
        output.square().mean().backward()
        return output.detach(), {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}

    expected = gradients()
    pairs = find_pairs(network, lambda: network(pictures))
    assert len(pairs) == sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with folded(pairs):
        found = gradients()
    torch.testing.assert_close(found[0], expected[0])
    assert found[1].keys() == expected[1].keys() == dict(network.named_parameters()).keys()
    for key, tensor in expected[1].items():
        torch.testing.assert_close(found[1][key], tensor, msg=key)


def test_afterwards_the_network_is_as_it_was() -> None:
    network = shake(timm.create_model("test_efficientnet", num_classes=0))
    pictures = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    pairs = find_pairs(network, lambda: network(pictures))
    with pytest.raises(RuntimeError, match="in the step"), folded(pairs):
        raise RuntimeError("in the step")
    assert not any("forward" in vars(module) for module in network.modules())
    twin = copy.deepcopy(network)
    with torch.no_grad():
        next(network.parameters()).zero_()
        assert not torch.equal(twin(pictures), network(pictures))


class Fork(nn.Module):
    """A convolution whose output is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.convolution(x)
        return y + self.norm(y)


def test_an_output_that_is_used_elsewhere_is_not_folded() -> None:
    network = shake(Fork())
    pictures = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert find_pairs(network, lambda: network(pictures)) == ()


def test_a_network_without_batch_norm_has_no_pairs() -> None:
    embedder = build_embedder(build_backbone("test_vit", "none"), ModelConfig(pooling="native"))
    size = 160
    assert find_pairs(embedder.backbone, lambda: embedder.features(torch.zeros(1, 3, size, size))) == ()
