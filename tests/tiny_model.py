"""A real ONNX bundle of a few kilobytes, made in milliseconds: what tests use wherever a model is needed.

The graph averages 4x4 blocks of a 32x32 picture and projects the 192 means to 16 values, so colour and layout decide
the vector. What may change here: the graph. Tests compare its vectors with each other, never with stored ones.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from index.bundle import Bundle, BundleDescription, Golden, write_bundle
from index.calibration import Calibration, parse_calibration
from index.encoder import open_session
from index.golden_pictures import draw_golden_pictures
from index.images import ImageLimits
from index.preprocess import Preprocessing, preprocess_bytes
from index.types import Vectors, unit_vectors

SIZE = 32  # pixels of a side
DIMENSIONS = 16
RULE = Preprocessing(resize=36, input_size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def write_tiny_bundle(folder: Path, seed: int = 0, calibration: Calibration | None = None) -> Bundle:
    """A bundle at `folder`; another `seed` gives another projection, and so another model id."""
    with tempfile.TemporaryDirectory() as name:
        files = Path(name)
        onnx.save(build_tiny_graph(seed), files / "model.onnx")
        golden = encode_golden(files / "model.onnx", RULE)
        return write_bundle(folder, files, golden, replace(describe_tiny(seed), calibration=calibration))


def describe_tiny(seed: int = 0) -> BundleDescription:
    """What the manifest of a tiny bundle says."""
    return BundleDescription(
        backbone="tiny",
        weights=f"random, seed {seed}",
        embedding_size=DIMENSIONS,
        preprocessing=RULE,
        created_with={"onnx": onnx.__version__},
    )


def tiny_calibration() -> Calibration:
    """A calibration such as a bundle may carry: 0.01 up to a score of 0.2, 0.4 at 0.5 to 0.6, 0.98 from 0.9 on."""
    return parse_calibration(
        {
            "method": "isotonic",
            "knots": [[0.2, 0.01], [0.5, 0.4], [0.6, 0.4], [0.9, 0.98]],
            "expected_calibration_error": 0.02,
            "thresholds": {"same_picture": 0.98},
            "sampling": {
                "source": "held_out",
                "data": "folder",
                "protocol": "self",
                "folds": None,
                "classes": 10,
                "queries": 300,
                "gallery": 299,
                "prior": 0.5,
            },
        }
    )


def build_tiny_graph(seed: int = 0) -> onnx.ModelProto:
    """image (n, 3, 32, 32) -> embedding (n, 16), float32."""
    random = np.random.default_rng(seed)
    blocks = 3 * (SIZE // 4) ** 2
    weights = random.normal(size=(blocks, DIMENSIONS)).astype(np.float32) / np.float32(np.sqrt(blocks))
    bias = random.normal(size=DIMENSIONS).astype(np.float32) * np.float32(0.1)  # so that a flat grey has a length
    nodes = [
        helper.make_node("AveragePool", ["image"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["embedding"]),
    ]
    return build_graph(nodes, {"weights": weights, "bias": bias})


def build_graph(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.float32]],
    input_name: str = "image",
    output_size: int = DIMENSIONS,
) -> onnx.ModelProto:
    """A checked model of `nodes` from `input_name` (n, 3, 32, 32) to `embedding` (n, output_size)."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", output_size])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def encode_golden(model: Path, rule: Preprocessing) -> Golden:
    """The golden pictures with the vectors that the graph at `model` gives for them."""
    session = open_session(model)
    pictures = draw_golden_pictures()
    limits = ImageLimits()
    rows = [session.run(["embedding"], {"image": preprocess_bytes(data, rule, limits)[None]})[0] for data in pictures]
    vectors: Vectors = unit_vectors(np.concatenate(rows))
    return Golden(pictures, vectors)
