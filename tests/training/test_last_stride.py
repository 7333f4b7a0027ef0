from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from index.errors import UsageError
from training.last_stride import remove_last_stride


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "test_efficientnet", "tf_efficientnet_lite0"])
def test_the_map_is_twice_as_wide_and_the_weights_are_the_same(name: str) -> None:
    network = timm.create_model(name, num_classes=0).eval()
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    pictures = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network.forward_features(pictures)
        remove_last_stride(network, name)
        after = network.forward_features(pictures)
    assert after.shape[:2] == before.shape[:2]
    assert [side // 2 for side in after.shape[2:]] == list(before.shape[2:])
    found = network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.items())


def test_resnet50s_last_stage_alone_changes() -> None:
    network = timm.create_model("resnet50", num_classes=0)
    remove_last_stride(network, "resnet50")
    strides = {key: m.stride for key, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)}
    assert not [key for key in strides if key.startswith("layer4")]
    assert {key for key in strides if key.startswith("layer3")} == {"layer3.0.conv2", "layer3.0.downsample.0"}


@pytest.mark.parametrize("name", ["test_vit", "resnetblur50", "test_convnext"])
def test_others_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"model\.last_stride: .*found 1 for {name}"):
        remove_last_stride(timm.create_model(name, num_classes=0), name)
