"""A trained (or loaded) embedder -> a model bundle, proven equal to torch on the golden pictures before it is sealed.

What may change here: the exporter. What may not: `image` -> `embedding` (and `feature_map` for average-pooled CNNs),
a free batch axis, and the refusal of a graph that computes something else than torch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from index.bundle import MODEL_NAME, Bundle, BundleDescription
from index.calibration import Calibration
from index.encoder import open_session
from index.errors import BundleError
from index.golden_pictures import draw_golden_pictures
from index.images import ImageLimits
from index.manifest import TrainingData
from index.model_export import installed_versions, seal_bundle
from index.preprocess import Preprocessing, preprocess_bytes
from index.types import unit_vectors
from training.backbones import WEIGHTS_NAME, Backbone
from training.model import Embedder

TOLERANCE = 1e-4  # between unit vectors of torch and of ONNX Runtime, any component
_TOOLS = ("crossmatch", "torch", "timm", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True)
class ExportPlan:
    """What goes into a bundle beside the graph."""

    backbone: Backbone
    preprocessing: Preprocessing
    training: TrainingData | None = None


class _Graph(nn.Module):
    """The embedder with the outputs a bundle has."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        embedding, feature_map = self.embedder(image)
        return (embedding,) if feature_map is None else (embedding, feature_map)


class Exporter:
    """The files of a bundle in a folder of their own, to be sealed once or, with figures, once again."""

    def __init__(self, embedder: Embedder, plan: ExportPlan, files: Path) -> None:
        """Writes graph and weights into `files`. Raises BundleError where ONNX Runtime and torch differ."""
        self._files = files
        embedder = embedder.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        channels = write_graph(embedder, plan.preprocessing.input_size, files / MODEL_NAME)
        compare_with_torch(embedder, plan.preprocessing, files / MODEL_NAME)
        save_file(
            {name: tensor.contiguous() for name, tensor in embedder.state_dict().items()},
            files / WEIGHTS_NAME,
            metadata={"backbone": plan.backbone.name},
        )
        self._description = BundleDescription(
            backbone=plan.backbone.name,
            weights=plan.backbone.weights,
            embedding_size=embedder.size,
            preprocessing=plan.preprocessing,
            feature_map_channels=channels,
            training=plan.training,
            created_with=installed_versions(*_TOOLS),
        )

    def seal(
        self, output: Path, evaluation: dict[str, Any] | None = None, calibration: Calibration | None = None
    ) -> Bundle:
        """The bundle at `output`, whole or not at all. Raises UsageError where something is in the way."""
        description = replace(self._description, evaluation=evaluation, calibration=calibration)
        return seal_bundle(output, self._files, description)


def export_bundle(embedder: Embedder, plan: ExportPlan, output: Path) -> Bundle:
    """A bundle without figures. Raises BundleError or UsageError."""
    with tempfile.TemporaryDirectory(prefix="crossmatch-") as files:
        return Exporter(embedder, plan, Path(files)).seal(output)


def write_graph(embedder: Embedder, input_size: int, path: Path) -> int | None:
    """Write the ONNX graph; the channels of its feature map, or None where it has none.

    Equal weights give equal bytes: what the exporter notes of source lines and paths is taken out.
    """
    example = torch.zeros(2, 3, input_size, input_size)  # 2: a batch of 1 would be taken for a constant
    with torch.no_grad():
        feature_map = embedder(example).feature_map
    outputs = ["embedding"] if feature_map is None else ["embedding", "feature_map"]
    with _quiet():
        program = torch.onnx.export(
            _Graph(embedder),
            (example,),
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes={"image": {0: torch.export.Dim("n", min=1)}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # the TorchScript exporter alone returns nothing
    model = program.model_proto
    _forget_origins(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return None if feature_map is None else int(feature_map.shape[1])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress lines and deprecation warnings from users; its errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _forget_origins(model: onnx.ModelProto) -> None:
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:]
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer)
    for part in (*model.graph.node, *values):
        part.doc_string = ""
        del part.metadata_props[:]


def compare_with_torch(embedder: Embedder, preprocessing: Preprocessing, model: Path) -> float:
    """The largest difference between torch's and ONNX Runtime's unit vectors of the golden pictures, as one batch.

    Raises BundleError where it is above 1e-4.
    """
    limits = ImageLimits()
    pixels = np.stack([preprocess_bytes(data, preprocessing, limits) for data in draw_golden_pictures()])
    with torch.no_grad():
        ours = embedder(torch.from_numpy(pixels)).embedding.numpy()
    theirs = open_session(model).run(["embedding"], {"image": pixels})[0]
    difference = float(np.abs(unit_vectors(ours) - unit_vectors(theirs)).max())
    if difference > TOLERANCE:
        raise BundleError(
            "ONNX Runtime and torch compute different vectors",
            where=model.name,
            expected=f"a difference of at most {TOLERANCE:g}",
            found=f"{difference:g}",
            remedy="the exporter can not express this backbone: choose another",
        )
    return difference
