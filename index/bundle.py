"""A model bundle: the folder with a model, what it was trained on and the vectors that prove it still runs the same.

Reading checks the format version and every digest. Writing is whole or not at all. What is in the folder, byte by
byte: `docs/artifacts.md`. What may change here: new optional files. No pickle, ever.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from index.calibration import Calibration, read_calibration
from index.errors import BundleDigestError, BundleFormatError, UsageError
from index.layout import describe_occupied, sync_path
from index.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Manifest,
    TrainingData,
    compute_model_id,
    file_digest,
    read_manifest,
    write_manifest,
)
from index.preprocess import Preprocessing
from index.types import Vectors

MODEL_NAME = "model.onnx"
GOLDEN_NAME = "golden.npz"
REQUIRED = (MODEL_NAME, GOLDEN_NAME)
OPTIONAL = ("weights.safetensors", "report.html", "LICENSE")


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose files are the ones its manifest names."""

    folder: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.folder / MODEL_NAME

    @property
    def calibration(self) -> Calibration | None:
        """From scores to probabilities; None where nobody measured it."""
        return read_calibration(self.manifest)


@dataclass(frozen=True)
class Golden:
    """Picture files as bytes, and the unit vectors (n, d) float32 that the exporting machine got from them."""

    pictures: tuple[bytes, ...]
    vectors: Vectors


@dataclass(frozen=True)
class BundleDescription:
    """What a writer says of a bundle; the rest of the manifest is computed from the files."""

    backbone: str
    weights: str
    embedding_size: int
    preprocessing: Preprocessing
    feature_map_channels: int | None = None
    training: TrainingData | None = None
    evaluation: dict[str, Any] | None = None
    calibration: Calibration | None = None
    created_with: Mapping[str, str] = field(default_factory=dict)


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle. Raises BundleFormatError or BundleDigestError with the file that is wrong."""
    manifest = read_manifest(folder)
    _check_calibration(folder, manifest)
    for name in REQUIRED:
        if name not in manifest.files:
            raise BundleFormatError(f"the manifest does not list {name}", where=folder / MANIFEST_NAME)
    for name, digest in manifest.files.items():
        if name not in REQUIRED + OPTIONAL:  # also what keeps `../` out
            raise BundleFormatError(f"the manifest lists {name!r}, which no bundle has", where=folder / MANIFEST_NAME)
        _check_file(folder / name, digest)
    _check_model_id(folder, manifest)
    return Bundle(folder, manifest)


def _check_calibration(folder: Path, manifest: Manifest) -> None:
    try:
        read_calibration(manifest)
    except BundleFormatError as error:
        raise error.at(folder / MANIFEST_NAME) from error


def _check_file(path: Path, digest: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise BundleFormatError(
            "a file of the bundle is missing or unreadable", where=path, found=error.strerror
        ) from error
    if found != digest:
        raise BundleDigestError(
            "the file is not the one that the manifest names",
            where=path,
            expected=f"SHA-256 {digest[:12]}...",
            found=f"{found[:12]}...",
            remedy="copy the bundle again, or export it again",
        )


def _check_model_id(folder: Path, manifest: Manifest) -> None:
    computed = compute_model_id(
        manifest.files[MODEL_NAME], manifest.preprocessing, manifest.normalisation, manifest.metric
    )
    if computed != manifest.model_id:
        raise BundleDigestError(
            "the model id does not follow from the model and its preprocessing",
            where=folder / MANIFEST_NAME,
            expected=f"{computed[:12]}...",
            found=f"{manifest.model_id[:12]}...",
            remedy="the manifest was edited: export the bundle again",
        )


def write_bundle(folder: Path, files: Path, golden: Golden, description: BundleDescription) -> Bundle:
    """Make a bundle at `folder` from the files in the folder `files` (`model.onnx` and any optional ones).

    `folder` must not exist, or be a bundle, which is replaced. It appears whole, or not at all.

    Raises UsageError if `folder` is something else, BundleFormatError if there is no `model.onnx`.
    """
    _refuse_other(folder)
    if not (files / MODEL_NAME).is_file():
        raise BundleFormatError("there is no model to make a bundle of", where=files, expected=MODEL_NAME)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        draft = Path(name) / "bundle"
        draft.mkdir()
        for file in (MODEL_NAME, *OPTIONAL):
            if (files / file).exists():
                shutil.copyfile(files / file, draft / file)
        _write_golden(draft / GOLDEN_NAME, golden)
        write_manifest(draft, _describe(draft, description))
        _sync_folder(draft)
        _put_in_place(draft, folder, Path(name) / "old")
    return read_bundle(folder)


def _refuse_other(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names:
        fits = MANIFEST_NAME in names and names <= {MANIFEST_NAME, *REQUIRED, *OPTIONAL}
    else:
        fits = folder.is_dir() or not folder.exists()
    if not fits:
        expected = "a new folder, or a bundle to replace"
        raise describe_occupied(folder, "the output is in the way", expected, "--output")


def _put_in_place(draft: Path, folder: Path, old: Path) -> None:
    """Rename `draft` to `folder`; what was there goes to `old`, and back if that fails."""
    if not folder.exists():
        draft.rename(folder)
    else:
        folder.rename(old)
        try:
            draft.rename(folder)
        except BaseException:
            old.rename(folder)
            raise
    sync_path(folder.parent)


def _describe(draft: Path, description: BundleDescription) -> Manifest:
    calibration = description.calibration
    digests = {path.name: file_digest(path) for path in sorted(draft.iterdir())}
    return Manifest(
        format_version=FORMAT_VERSION,
        model_id=compute_model_id(digests[MODEL_NAME], description.preprocessing, "l2", "cosine"),
        backbone=description.backbone,
        weights=description.weights,
        embedding_size=description.embedding_size,
        feature_map_channels=description.feature_map_channels,
        preprocessing=description.preprocessing,
        normalisation="l2",
        metric="cosine",
        files=digests,
        training=description.training,
        evaluation=description.evaluation,
        calibration=None if calibration is None else calibration.model_dump(mode="json"),
        created_with=dict(description.created_with),
    )


def _sync_folder(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        sync_path(path)


def write_calibration(bundle: Bundle, calibration: Calibration) -> Bundle:
    """Put a calibration into a bundle's manifest, which is the old one or the new one whole. The model id stays.

    Raises UsageError for an index's own copy: the index names the digest of its manifest.
    """
    folder = bundle.folder.resolve()
    if (folder.parent / "vectors.f32").exists():
        raise UsageError(
            "an index's own copy of a bundle",
            where=folder,
            expected="a bundle that no index holds",
            remedy="calibrate the bundle that the index was built with",
        )
    manifest = bundle.manifest.model_copy(update={"calibration": calibration.model_dump(mode="json")})
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        write_manifest(Path(name), manifest)
        sync_path(Path(name) / MANIFEST_NAME)
        (Path(name) / MANIFEST_NAME).replace(folder / MANIFEST_NAME)
    sync_path(folder)
    return read_bundle(bundle.folder)


def _write_golden(path: Path, golden: Golden) -> None:
    arrays = {f"picture_{i}": np.frombuffer(data, np.uint8) for i, data in enumerate(golden.pictures)}
    np.savez(path, allow_pickle=False, vectors=golden.vectors.astype(np.float32), **arrays)


def read_golden(bundle: Bundle) -> Golden:
    """The golden pictures and their vectors. Raises BundleFormatError."""
    path = bundle.folder / GOLDEN_NAME
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            vectors = arrays["vectors"].astype(np.float32)
            pictures = tuple(arrays[f"picture_{i}"].tobytes() for i in range(len(vectors)))
    except Exception as error:  # numpy and zipfile raise many types on a damaged file
        raise BundleFormatError("the golden pictures can not be read", where=path, found=error) from error
    if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != bundle.manifest.embedding_size:
        raise BundleFormatError(
            "the golden vectors have the wrong shape",
            where=path,
            expected=f"(n, {bundle.manifest.embedding_size})",
            found=vectors.shape,
        )
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3):  # a longer one would pass any cosine
        raise BundleFormatError("the golden vectors are not of length 1", where=path)
    return Golden(pictures, vectors)


def describe_bundle(bundle: Bundle) -> dict[str, object]:
    """The lines that `model export` and `model verify` print."""
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.folder),
        "model": manifest.model_id,
        "backbone": manifest.backbone,
        "weights": manifest.weights,
        "embedding_size": manifest.embedding_size,
        "input_size": manifest.preprocessing.input_size,
    }
