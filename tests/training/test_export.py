from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open

from index.bundle import Bundle
from index.encoder import Encoder, open_session, verify_golden
from index.errors import BundleError
from training import export
from training.backbones import Backbone, build_backbone
from training.config import ModelConfig
from training.export import ExportPlan, compare_with_torch, export_bundle
from training.model import Embedder, build_embedder

WRITE_GRAPH = export.write_graph


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("test_efficientnet", "none")


@pytest.fixture(scope="module")
def embedder(backbone: Backbone) -> Embedder:
    embedder = build_embedder(backbone, ModelConfig(feature_norm="batch"))
    size = backbone.preprocessing.input_size
    with torch.no_grad():  # statistics that are not those of a new layer
        embedder.train()(torch.randn(8, 3, size, size))
    return embedder.eval()


@pytest.fixture(scope="module")
def bundle(backbone: Backbone, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("export") / "bundle"
    return export_bundle(embedder, ExportPlan(backbone, backbone.preprocessing_at(32, 36)), folder)


def test_onnx_and_torch_agree_on_any_batch(bundle: Bundle, embedder: Embedder) -> None:
    session = open_session(bundle.model_path)
    for count in (1, 3):
        pixels = np.random.default_rng(count).standard_normal((count, 3, 32, 32)).astype(np.float32)
        embedding, feature_map = session.run(["embedding", "feature_map"], {"image": pixels})
        with torch.no_grad():
            expected = embedder(torch.from_numpy(pixels))
        np.testing.assert_allclose(embedding, expected.embedding.numpy(), atol=1e-3, rtol=1e-4)
        assert expected.feature_map is not None
        np.testing.assert_allclose(feature_map, expected.feature_map.numpy(), atol=1e-3, rtol=1e-4)


def test_the_bundle_verifies_and_says_what_it_is(bundle: Bundle, embedder: Embedder) -> None:
    assert verify_golden(Encoder(bundle)) > 0.99999
    manifest = bundle.manifest
    assert (manifest.backbone, manifest.weights) == ("test_efficientnet", "random")
    assert manifest.embedding_size == manifest.feature_map_channels == embedder.size
    assert (manifest.preprocessing.input_size, manifest.preprocessing.resize) == (32, 36)
    assert set(manifest.files) == {"model.onnx", "golden.npz", "weights.safetensors"}


def test_its_weights_start_another_training(bundle: Bundle, backbone: Backbone) -> None:
    warm = build_backbone("test_efficientnet", str(bundle.folder))
    assert warm.preprocessing == bundle.manifest.preprocessing
    assert warm.weights == f"bundle {bundle.manifest.model_id[:12]}"
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(warm.network.state_dict()[name], tensor)
    with safe_open(bundle.folder / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"backbone": "test_efficientnet"}


def test_the_graph_tells_nothing_of_this_machine(bundle: Bundle) -> None:
    graph = onnx.load(bundle.model_path).graph
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    assert str(Path(__file__).parents[2]).encode() not in bundle.model_path.read_bytes()


def spoil(path: Path, output: Path) -> None:
    """The same graph with other weights."""
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(largest.raw_data, np.float32) * 1.01
    values[: len(values) // 2] *= 0.9
    largest.raw_data = values.astype(np.float32).tobytes()
    onnx.save(model, output)


def test_a_graph_that_computes_something_else_is_refused(bundle: Bundle, embedder: Embedder, tmp_path: Path) -> None:
    spoil(bundle.model_path, tmp_path / "model.onnx")
    assert compare_with_torch(embedder, bundle.manifest.preprocessing, bundle.model_path) < 1e-5
    with pytest.raises(BundleError, match="ONNX Runtime and torch compute different vectors"):
        compare_with_torch(embedder, bundle.manifest.preprocessing, tmp_path / "model.onnx")


def test_no_bundle_is_left_where_the_exporter_goes_wrong(
    backbone: Backbone, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_wrongly(embedder: Embedder, input_size: int, path: Path) -> int | None:
        channels = WRITE_GRAPH(embedder, input_size, path)
        spoil(path, path)
        return channels

    monkeypatch.setattr(export, "write_graph", write_wrongly)
    with pytest.raises(BundleError, match="ONNX Runtime and torch compute different vectors"):
        export_bundle(embedder, ExportPlan(backbone, backbone.preprocessing_at(32, 36)), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_warm_start_takes_projection_pooling_and_norm_along(backbone: Backbone, tmp_path: Path) -> None:
    config = ModelConfig(pooling="generalised_mean", projection=9, feature_norm="neck")
    embedder = build_embedder(backbone, config)
    with torch.no_grad():
        for parameter in embedder.parameters():
            parameter.add_(0.01)
    bundle = export_bundle(embedder, ExportPlan(backbone, backbone.preprocessing_at(32, 36)), tmp_path / "bundle")
    warm = build_embedder(build_backbone("test_efficientnet", str(bundle.folder)), config)
    assert all(torch.equal(tensor, embedder.state_dict()[name]) for name, tensor in warm.state_dict().items())
    other = build_embedder(
        build_backbone("test_efficientnet", str(bundle.folder)), replace(config, projection=5)
    )  # only the backbone fits
    assert torch.equal(other.backbone.conv_stem.weight, embedder.backbone.conv_stem.weight)  # type: ignore
    assert other.pooling.exponent.item() == 3.0  # type: ignore


CHOICES = [
    ModelConfig(last_stride=1),
    ModelConfig(pooling="generalised_mean", pooling_exponent=2.5),
    ModelConfig(pooling="max", feature_norm="layer"),
    ModelConfig(pooling="generalised_mean", projection=9, feature_norm="neck"),
]


@pytest.mark.parametrize("config", CHOICES, ids=lambda one: f"{one.pooling}-{one.feature_norm}-{one.last_stride}")
def test_every_choice_is_in_the_graph(config: ModelConfig, tmp_path: Path) -> None:
    backbone = build_backbone("test_efficientnet", "none")
    embedder = build_embedder(backbone, config)
    with torch.no_grad():  # statistics, and a scale, that are not those of a new layer
        embedder.train()(torch.randn(8, 3, 32, 32))
        for parameter in embedder.feature_norm.parameters():
            parameter.uniform_(0.5, 2.0)
    embedder.eval()
    found = export_bundle(embedder, ExportPlan(backbone, backbone.preprocessing_at(32, 36)), tmp_path / "bundle")
    pixels = np.random.default_rng(1).standard_normal((3, 3, 32, 32)).astype(np.float32)
    outputs = open_session(found.model_path).run(None, {"image": pixels})
    with torch.no_grad():
        expected = embedder(torch.from_numpy(pixels))
        pooled = embedder.pooling(embedder.backbone.forward_features(torch.from_numpy(pixels)))  # type: ignore
    np.testing.assert_allclose(outputs[0], expected.embedding.numpy(), atol=1e-3, rtol=1e-4)
    assert verify_golden(Encoder(found)) > 0.99999
    assert (found.manifest.feature_map_channels is None) is (config.pooling == "max")
    if config.pooling != "max":
        np.testing.assert_allclose(outputs[1].mean(axis=(2, 3)), pooled.numpy(), atol=1e-3, rtol=1e-4)
