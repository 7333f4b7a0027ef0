from __future__ import annotations

import pytest
import torch
from torch import nn

from index.errors import UsageError
from training.backbones import Backbone, build_backbone
from training.config import ModelConfig
from training.losses.classifiers import LinearClassifier
from training.losses.cross_entropy import CrossEntropy
from training.losses.parts import Criterion, LossParts
from training.model import BatchNormNeck, Learner, build_embedder, build_plain_embedder, interpolate_weights

LABELS = torch.tensor([0, 1, 2, 0])


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_backbone("test_efficientnet", "none")


def draw(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if "running" in name}


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_stay_while_their_affine_weights_train(frozen: bool) -> None:
    embedder = build_embedder(build_backbone("test_efficientnet", "none"), ModelConfig(freeze_batch_norm=frozen))
    classifier = LinearClassifier(embedder.size, 3, 0.0)
    nn.init.normal_(classifier.linear.weight)
    model = Learner(embedder, CrossEntropy(classifier, 0.0)).train()
    before = statistics(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    affine = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).weight
    start = affine.detach().clone()
    model(draw(), LABELS).loss.backward()
    optimiser.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in statistics(model).items()) is frozen
    assert not torch.equal(affine, start)


def test_dropout_is_on_the_classifiers_path_alone(backbone: Backbone) -> None:
    embedder = build_embedder(backbone, ModelConfig())
    classifier = LinearClassifier(embedder.size, 5, 0.5)
    nn.init.normal_(classifier.linear.weight)
    model = Learner(embedder, CrossEntropy(classifier, 0.0)).train()
    features = embedder.features(draw())
    torch.testing.assert_close(features, embedder.features(draw()))
    assert model.judge(features, LABELS).loss != model.judge(features, LABELS).loss


def test_the_embedding_is_the_average_of_the_map(backbone: Backbone) -> None:
    encoded = build_embedder(backbone, ModelConfig())(draw())
    assert encoded.feature_map is not None
    torch.testing.assert_close(encoded.embedding, encoded.feature_map.mean(dim=(2, 3)))


def test_a_projection_changes_the_size(backbone: Backbone) -> None:
    embedder = build_embedder(backbone, ModelConfig(projection=7, feature_norm="layer"))
    embedding = embedder(draw()).embedding
    assert embedder.size == 7
    assert embedding.shape == (4, 7)
    torch.testing.assert_close(embedding.mean(dim=1), torch.zeros(4), atol=1e-5, rtol=0)
    assert not list(embedder.feature_norm.parameters())


def test_batch_norm_on_the_features_has_no_affine(backbone: Backbone) -> None:
    embedder = build_embedder(backbone, ModelConfig(feature_norm="batch")).train()
    embedding = embedder(draw(16)).embedding
    torch.testing.assert_close(embedding.mean(dim=0), torch.zeros(embedder.size), atol=1e-4, rtol=0)
    assert not list(embedder.feature_norm.parameters())
    assert embedder.feature_norm.training


class Spy(Criterion):
    """Keeps the features that it is given."""

    def __init__(self, compares_pairs: bool) -> None:
        super().__init__()
        self.compares_pairs = compares_pairs

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> LossParts:
        self.seen = features
        self.products = features @ features.T
        return LossParts(features.sum(), None, None)


@pytest.mark.parametrize("compares_pairs", [True, False])
def test_pairwise_losses_see_what_comes_before_the_neck(backbone: Backbone, compares_pairs: bool) -> None:
    spy = Spy(compares_pairs)
    model = Learner(build_embedder(backbone, ModelConfig(feature_norm="neck")), spy).train()
    neck = model.embedder.feature_norm
    assert isinstance(neck, BatchNormNeck)
    assert [name for name, p in neck.named_parameters() if p.requires_grad] == ["weight"]
    model(draw(), LABELS)
    assert torch.equal(spy.seen, model.embedder.features(draw())) is compares_pairs
    assert neck.num_batches_tracked == 1  # the bundle's norm has seen the features in either case


def test_losses_are_computed_in_float32_whatever_the_backbone_runs_in(backbone: Backbone) -> None:
    spy = Spy(True)
    model = Learner(build_embedder(backbone, ModelConfig(projection=4)), spy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.embedder.features(draw()).dtype == torch.bfloat16
        model(draw(), LABELS)
    assert spy.seen.dtype == spy.products.dtype == torch.float32


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
