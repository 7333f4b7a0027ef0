from __future__ import annotations

import pytest
import torch
from torch import nn

from index.errors import UsageError
from training.backbones import Backbone, build_backbone
from training.config import ModelConfig
from training.model import Classifier, build_embedder, build_plain_embedder, interpolate_weights


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_backbone("test_efficientnet", "none")


def draw(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if "running" in name}


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_stay_while_their_affine_weights_train(frozen: bool) -> None:
    backbone = build_backbone("test_efficientnet", "none")
    model = Classifier(build_embedder(backbone, ModelConfig(freeze_batch_norm=frozen)), 3, 0.0).train()
    nn.init.normal_(model.classifier.weight)
    before = statistics(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    affine = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).weight
    start = affine.detach().clone()
    model(draw())[0].square().sum().backward()
    optimiser.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in statistics(model).items()) is frozen
    assert not torch.equal(affine, start)


def test_the_classifier_starts_at_zero_with_a_bias(backbone: Backbone) -> None:
    model = Classifier(build_embedder(backbone, ModelConfig()), 5, 0.5).train()
    logits, embedding = model(draw())
    assert not logits.any()
    assert logits.shape == (4, 5)
    assert embedding.shape == (4, model.embedder.size)
    assert model.classifier.bias is not None


def test_dropout_is_on_the_classifiers_path_alone(backbone: Backbone) -> None:
    model = Classifier(build_embedder(backbone, ModelConfig(dropout=0.5)), 5, 0.5).train()
    nn.init.normal_(model.classifier.weight)
    first, second = model(draw()), model(draw())
    torch.testing.assert_close(first[1], second[1])
    assert not torch.allclose(first[0], second[0])


def test_the_embedding_is_the_average_of_the_map(backbone: Backbone) -> None:
    encoded = build_embedder(backbone, ModelConfig())(draw())
    assert encoded.feature_map is not None
    torch.testing.assert_close(encoded.embedding, encoded.feature_map.mean(dim=(2, 3)))


def test_batch_norm_on_the_features_has_no_affine(backbone: Backbone) -> None:
    embedder = build_embedder(backbone, ModelConfig(feature_norm="batch")).train()
    embedding = embedder(draw(16)).embedding
    torch.testing.assert_close(embedding.mean(dim=0), torch.zeros(embedder.size), atol=1e-4, rtol=0)
    assert not list(embedder.feature_norm.parameters())
    assert embedder.feature_norm.training


def test_a_transformer_needs_its_own_pooling() -> None:
    backbone = build_backbone("test_vit", "none")
    with pytest.raises(UsageError, match=r"model\.pooling"):
        build_embedder(backbone, ModelConfig(pooling="average"))
    embedder = build_plain_embedder(backbone)
    size = backbone.preprocessing.input_size
    encoded = embedder(torch.zeros(2, 3, size, size))
    assert encoded.embedding.shape == (2, embedder.size)
    assert encoded.feature_map is None


def test_interpolated_weights() -> None:
    trained = {"weight": torch.tensor([1.0, 2.0]), "counter": torch.tensor(7)}
    start = {"weight": torch.tensor([5.0, 2.0]), "counter": torch.tensor(0)}
    mixed = interpolate_weights(trained, start, 0.25)
    assert mixed["weight"].tolist() == [2.0, 2.0]
    assert int(mixed["counter"]) == 7
