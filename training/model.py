"""The network that is trained: backbone -> pooled features -> projection -> norm, and the loss on top of it.

The features after the norm are the embedding. The loss, with the classifier or proxies that it owns, is part of the
model, so that one optimiser and one checkpoint have it all; the bundle does not have it. What may change here: more
norms, each neutral by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from index.errors import UsageError
from training.backbones import Backbone
from training.config import ModelConfig
from training.last_stride import remove_last_stride
from training.losses.parts import Criterion, LossParts
from training.pooling import build_pooling


class Encoded(NamedTuple):
    """What the encoder gives for n pictures."""

    embedding: Tensor  # (n, d)
    feature_map: Tensor | None  # (n, c, h, w) with the pooled features as its average, or None where there is none


class Embedder(nn.Module):
    """Normalised pictures (n, 3, s, s) -> `Encoded`."""

    def __init__(self, network: nn.Module, config: ModelConfig, input_size: int) -> None:
        """Runs the network once on an empty picture to learn its sizes. Raises UsageError if it gives no map."""
        super().__init__()
        self.backbone = network
        self.pooling = None if config.pooling == "native" else build_pooling(config.pooling, config.pooling_exponent)
        self.freeze_batch_norm = config.freeze_batch_norm
        with torch.no_grad():
            pooled = self._pool(self._run(torch.zeros(1, 3, input_size, input_size)))
        self.size = config.projection or int(pooled.shape[1])
        self.projection: nn.Module = nn.Linear(int(pooled.shape[1]), self.size) if config.projection else nn.Identity()
        self.feature_norm = _build_norm(config.feature_norm, self.size)

    def forward(self, pictures: Tensor) -> Encoded:
        """(n, 3, s, s) -> embedding (n, d) and feature map (n, c, h, w)."""
        output = self._run(pictures)
        embedding = self.feature_norm(self.projection(self._pool(output)))
        return Encoded(embedding, None if self.pooling is None else self.pooling.spread(output))

    def features(self, pictures: Tensor) -> Tensor:
        """(n, d): what the norm makes the embedding of."""
        projected: Tensor = self.projection(self._pool(self._run(pictures)))
        return projected

    def _run(self, pictures: Tensor) -> Tensor:
        network: Any = self.backbone
        output: Tensor = network.forward_features(pictures)
        if self.pooling is not None and (output.ndim != 4 or output.shape[1] != network.num_features):
            raise UsageError(
                "the backbone gives no feature map (n, c, h, w) to pool",
                where="model.pooling",
                expected="`native` for this backbone",
            )
        return output

    def _pool(self, output: Tensor) -> Tensor:
        network: Any = self.backbone
        pooled: Tensor = network.forward_head(output, pre_logits=True) if self.pooling is None else self.pooling(output)
        return pooled

    def train(self, mode: bool = True) -> Embedder:
        """As any module's, but frozen BatchNorm2d layers stay as in evaluation; their affine weights train."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def _build_norm(name: str, size: int) -> nn.Module:
    """`none`, or `layer` and `batch` without affine weights as in the reference, or a `neck`."""
    if name == "layer":
        return nn.LayerNorm(size, elementwise_affine=False)
    if name == "batch":
        return nn.BatchNorm1d(size, affine=False)
    return BatchNormNeck(size) if name == "neck" else nn.Identity()


class BatchNormNeck(nn.BatchNorm1d):
    """BatchNorm with a scale and no shift; pairwise losses see what comes before it (arXiv 1903.07071, section 3.6)."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.bias.requires_grad_(False)  # stays 0


class Learner(nn.Module):
    """An embedder and the loss it is trained by."""

    def __init__(self, embedder: Embedder, criterion: Criterion) -> None:
        super().__init__()
        self.embedder = embedder
        self.criterion = criterion

    def forward(self, pictures: Tensor, labels: Tensor) -> LossParts:
        """The loss of pictures (n, 3, s, s) with labels (n,)."""
        return self.judge(self.embedder.features(pictures), labels)

    def judge(self, features: Tensor, labels: Tensor) -> LossParts:
        """The loss of features (n, d) that the norm has not seen yet; in float32 from here on."""
        norm = self.embedder.feature_norm
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 can not tell a cosine of 0.99 from 1
            precise = features.float()
            embedding = norm(precise)  # always, so that a neck's statistics are kept
            before = self.criterion.compares_pairs and isinstance(norm, BatchNormNeck)
            parts: LossParts = self.criterion(precise if before else embedding, labels)
        return parts


def build_embedder(backbone: Backbone, config: ModelConfig) -> Embedder:
    """The encoder for a backbone, in evaluation mode.

    From a bundle comes its pooling, projection and norm too, if they are of the same kinds and sizes: a warm start.
    """
    if config.last_stride == 1:
        remove_last_stride(backbone.network, backbone.name)
    backbone.network.eval()
    embedder = Embedder(backbone.network, config, backbone.preprocessing.input_size).eval()
    own = {name: tensor for name, tensor in embedder.state_dict().items() if not name.startswith("backbone.")}
    if _shapes(own) == _shapes(backbone.head):
        embedder.load_state_dict(dict(backbone.head), strict=False)
    return embedder


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def build_plain_embedder(backbone: Backbone) -> Embedder:
    """The encoder of a backbone as it is: a CNN's averaged map, or what the backbone's own head makes of it."""
    try:
        return build_embedder(backbone, ModelConfig(pooling="average"))
    except UsageError:
        return build_embedder(backbone, ModelConfig(pooling="native"))


def interpolate_weights(trained: dict[str, Tensor], start: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of the starting weights and 1 - `share` of the trained ones (WiSE-FT, arXiv 2109.01903, section 3).

    Counters and other integers are the trained ones.
    """
    return {
        name: torch.lerp(tensor, start[name].to(tensor.device), share) if tensor.is_floating_point() else tensor
        for name, tensor in trained.items()
    }
