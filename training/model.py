"""The network that is trained: backbone -> pooled features -> optional norm -> (drop-out -> classifier).

The features after the norm are the embedding; drop-out and classifier are on a path of their own, which the bundle
does not have. What may change here: more poolings and norms, each neutral by default.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from index.errors import UsageError
from training.backbones import Backbone
from training.config import ModelConfig


class Encoded(NamedTuple):
    """What the encoder gives for n pictures."""

    embedding: Tensor  # (n, d)
    feature_map: Tensor | None  # (n, d, h, w), or None where the backbone has none


class Embedder(nn.Module):
    """Normalised pictures (n, 3, s, s) -> `Encoded`."""

    def __init__(self, network: nn.Module, config: ModelConfig, input_size: int) -> None:
        """Runs the network once on an empty picture to learn its sizes. Raises UsageError if it gives no map."""
        super().__init__()
        self.backbone = network
        self.pools_map = config.pooling == "average"
        self.freeze_batch_norm = config.freeze_batch_norm
        with torch.no_grad():
            features = self._features(torch.zeros(1, 3, input_size, input_size)).embedding
        self.size = int(features.shape[1])
        # Without affine, as in the reference: the statistics alone.
        self.feature_norm: nn.Module = (
            nn.BatchNorm1d(self.size, affine=False) if config.feature_norm == "batch" else nn.Identity()
        )

    def forward(self, pictures: Tensor) -> Encoded:
        """(n, 3, s, s) -> embedding (n, d) and feature map (n, d, h, w)."""
        features = self._features(pictures)
        return Encoded(self.feature_norm(features.embedding), features.feature_map)

    def _features(self, pictures: Tensor) -> Encoded:
        network: Any = self.backbone
        output: Tensor = network.forward_features(pictures)
        if not self.pools_map:
            return Encoded(network.forward_head(output, pre_logits=True), None)
        if output.ndim != 4 or output.shape[1] != network.num_features:
            raise UsageError(
                "the backbone gives no feature map (n, c, h, w) to average",
                where="model.pooling",
                expected="`native` for this backbone",
                found="average",
            )
        return Encoded(output.mean(dim=(2, 3)), output)

    def train(self, mode: bool = True) -> Embedder:
        """As any module's, but frozen BatchNorm2d layers stay as in evaluation; their affine weights train."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class Classifier(nn.Module):
    """An embedder with its way to the classes; the classifier lives here so that one optimiser sees it all."""

    def __init__(self, embedder: Embedder, classes: int, dropout: float) -> None:
        super().__init__()
        self.embedder = embedder
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(embedder.size, classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, s, s) -> logits (n, C) and embedding (n, d)."""
        embedding = self.embedder(pictures).embedding
        return self.classifier(self.dropout(embedding)), embedding


def build_embedder(backbone: Backbone, config: ModelConfig) -> Embedder:
    """The encoder for a backbone, in evaluation mode."""
    backbone.network.eval()
    return Embedder(backbone.network, config, backbone.preprocessing.input_size).eval()


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
