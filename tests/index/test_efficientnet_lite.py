"""The graph writer, on random networks of a few kilobytes; equality with timm is in tests/training."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from index.efficientnet_lite import BATCH_NORM_EPSILON, build_graph, same_pads
from index.encoder import open_session
from index.errors import BundleFormatError

Weights = dict[str, NDArray[np.float32]]
SIZE = 48
STAGES = ((4, 3, 1), (5, 3, 2), (6, 5, 1), (7, 3, 1), (8, 5, 1), (9, 5, 1), (10, 3, 1))  # width, kernel, repeats


def tiny_lite(seed: int = 0) -> Weights:
    """A state dict with all the parts of an EfficientNet-Lite, 3 to 12 channels wide."""
    random = np.random.default_rng(seed)
    weights: Weights = {}

    def add(key: str, norm: str, *shape: int) -> None:
        fan = shape[1] * shape[2] * shape[3]
        weights[f"{key}.weight"] = random.normal(0, (2 / fan) ** 0.5, shape).astype(np.float32)
        weights[f"{norm}.weight"] = random.uniform(0.5, 2, shape[0]).astype(np.float32)
        weights[f"{norm}.bias"] = random.normal(0.5, 0.5, shape[0]).astype(np.float32)
        weights[f"{norm}.running_mean"] = random.normal(0, 0.2, shape[0]).astype(np.float32)
        weights[f"{norm}.running_var"] = random.uniform(0.001, 1, shape[0]).astype(np.float32)

    add("_conv_stem", "_bn0", 3, 3, 3, 3)
    channels, block = 3, 0
    for width, kernel, repeats in STAGES:
        for _ in range(repeats):
            prefix = f"_blocks.{block}."
            inner = channels * (2 if block else 1)
            if block:
                add(f"{prefix}_expand_conv", f"{prefix}_bn0", inner, channels, 1, 1)
            add(f"{prefix}_depthwise_conv", f"{prefix}_bn1", inner, 1, kernel, kernel)
            add(f"{prefix}_project_conv", f"{prefix}_bn2", width, inner, 1, 1)
            channels, block = width, block + 1
    add("_conv_head", "_bn1", 12, channels, 1, 1)
    return weights


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    path = tmp_path_factory.mktemp("lite") / "model.onnx"
    path.write_bytes(build_graph(tiny_lite(), SIZE, "tiny").onnx)
    return open_session(path)


def images(n: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(n, 3, SIZE, SIZE)).astype(np.float32)


def convolve(image: NDArray[np.float64], kernel: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """TensorFlow's SAME convolution, (c, s, s) -> (out, s / stride, s / stride), by its definition."""
    out, inner, k, _ = kernel.shape
    side = -(-image.shape[1] // stride)
    total = max((side - 1) * stride + k - image.shape[1], 0)
    padded = np.pad(image, ((0, 0), (total // 2, total - total // 2), (total // 2, total - total // 2)))
    result = np.zeros((out, side, side))
    for y in range(side):
        for x in range(side):
            patch = padded[:, y * stride : y * stride + k, x * stride : x * stride + k]
            if inner == 1 and out == len(image) and out > 1:  # a filter a channel
                result[:, y, x] = (patch * kernel[:, 0]).sum(axis=(1, 2))
            else:
                result[:, y, x] = np.tensordot(kernel, patch, axes=3)
    return result


def reference(weights: Weights, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """The feature map, straight from the paper's description, in float64 and with nothing folded."""

    def layer(x: NDArray[np.float64], key: str, norm: str, stride: int = 1, clip: bool = True) -> NDArray[np.float64]:
        gamma, beta, mean, variance = (
            weights[f"{norm}.{part}"].astype(np.float64)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = convolve(x, weights[f"{key}.weight"].astype(np.float64), stride)
        x = (x - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) * gamma + beta
        return np.clip(x, 0, 6) if clip else x

    x = layer(image.astype(np.float64), "_conv_stem", "_bn0", 2)
    block = 0
    for (_, _, repeats), stage_stride in zip(STAGES, (1, 2, 2, 2, 1, 2, 1), strict=True):
        for repeat in range(repeats):
            prefix, source = f"_blocks.{block}.", x
            if block:
                x = layer(x, f"{prefix}_expand_conv", f"{prefix}_bn0")
            x = layer(x, f"{prefix}_depthwise_conv", f"{prefix}_bn1", 1 if repeat else stage_stride)
            x = layer(x, f"{prefix}_project_conv", f"{prefix}_bn2", clip=False)
            x = x + source if repeat else x
            block += 1
    return layer(x, "_conv_head", "_bn1")


def test_outputs_are_those_of_the_definition(session: ort.InferenceSession) -> None:
    embedding, feature_map = session.run(["embedding", "feature_map"], {"image": images(1)})
    expected = reference(tiny_lite(), images(1)[0])
    assert feature_map.shape == (1, 12, 2, 2)
    assert 0 < expected.mean() < 6
    np.testing.assert_allclose(feature_map[0], expected, atol=1e-4)
    np.testing.assert_allclose(embedding[0], expected.mean(axis=(1, 2)), atol=1e-4)


def test_batch_axis_is_free(session: ort.InferenceSession) -> None:
    batch = images(3)
    together = session.run(["embedding"], {"image": batch})[0]
    singly = np.concatenate([session.run(["embedding"], {"image": image[None]})[0] for image in batch])
    assert together.shape == (3, 12)
    np.testing.assert_allclose(together, singly, atol=1e-5)


def test_signature_and_metadata() -> None:
    graph = build_graph(tiny_lite(), SIZE, "tiny")
    model = onnx.load_from_string(graph.onnx)
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert graph.embedding_size == 12
    assert model.producer_name == "crossmatch"
    assert model.graph.name == "tiny"
    assert shapes == {
        "image": ["n", 3, SIZE, SIZE],
        "embedding": ["n", 12],
        "feature_map": ["n", 12, 2, 2],
    }


def test_equal_weights_give_equal_bytes() -> None:
    assert build_graph(tiny_lite(), SIZE, "tiny").onnx == build_graph(tiny_lite(), SIZE, "tiny").onnx
    assert build_graph(tiny_lite(), SIZE, "tiny").onnx != build_graph(tiny_lite(seed=1), SIZE, "tiny").onnx


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "pads"),
    [
        (224, 3, 2, (0, 1)),
        (15, 3, 2, (1, 1)),
        (56, 5, 2, (1, 2)),
        (14, 5, 1, (2, 2)),
        (7, 1, 1, (0, 0)),
        (4, 1, 2, (0, 0)),
    ],
)
def test_same_pads(side: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert same_pads(side, kernel, stride) == pads


def test_other_weights_are_refused() -> None:
    whole = tiny_lite()
    with pytest.raises(BundleFormatError, match=r"_blocks\.2\._bn1\.running_var"):
        build_graph({k: v for k, v in whole.items() if k != "_blocks.2._bn1.running_var"}, SIZE, "tiny")
    with pytest.raises(BundleFormatError, match="7 stages"):
        build_graph({k: v for k, v in whole.items() if not k.startswith("_blocks.7")}, SIZE, "tiny")
    with pytest.raises(BundleFormatError, match="_conv_head for 10 channels"):
        build_graph(whole | {"_conv_head.weight": np.zeros((12, 4, 1, 1), np.float32)}, SIZE, "tiny")
    with pytest.raises(BundleFormatError, match="_conv_stem"):
        build_graph(whole | {"_conv_stem.weight": np.zeros((3, 3), np.float32)}, SIZE, "tiny")
    with pytest.raises(BundleFormatError, match="_conv_stem"):
        build_graph({}, SIZE, "tiny")
