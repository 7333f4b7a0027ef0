"""A model bundle's `manifest.json`: its fields, its file format and the model id.

Every field is always in the file; one without a value is `null`, and only the fields typed `... | None` may be.
What may change here: a new format version with a reader for every older one. `docs/artifacts.md` is this in prose.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index.errors import BundleFormatError
from index.preprocess import Preprocessing

FORMAT_VERSION: Literal[1] = 1
MANIFEST_NAME = "manifest.json"
_CHUNK = 2**20


class TrainingData(BaseModel):
    """What a bundle was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="of the data set")
    digest: str = Field(description="SHA-256 over the sorted (path, content SHA-256, label) of its pictures")
    pictures: int
    classes: tuple[str, ...] = Field(description="the names of the classes trained on, in the order of their numbers")
    seed: int
    config: dict[str, Any] = Field(description="the whole training configuration")
    versions: dict[str, str] = Field(description="of the libraries that trained it")


class Manifest(BaseModel):
    """Everything that reproduces a bundle's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1]
    model_id: str = Field(pattern="^[0-9a-f]{64}$", description="see `compute_model_id`")
    backbone: str = Field(description="the architecture's name, as timm spells it where timm has it")
    weights: str = Field(description="where the weights came from, for people")
    embedding_size: int = Field(ge=1)
    feature_map_channels: int | None = Field(description="channels of `feature_map`; null where there is none")
    preprocessing: Preprocessing
    normalisation: Literal["l2"] = Field(description="vectors are divided by their Euclidean length")
    metric: Literal["cosine"]
    files: dict[str, str] = Field(description="file name -> SHA-256 of every file but this one")
    training: TrainingData | None = Field(description="null for weights that were not trained here")
    evaluation: dict[str, Any] | None = Field(description="figures measured on this bundle as exported")
    calibration: dict[str, Any] | None = Field(description="of scores to probabilities, see `index.calibration`")
    created_with: dict[str, str] = Field(description="versions of Crossmatch and of what wrote the graph")


def compute_model_id(model_digest: str, preprocessing: Preprocessing, normalisation: str, metric: str) -> str:
    """SHA-256 over what decides a vector and nothing else: the graph's digest, preprocessing, normalisation, metric."""
    identity = {
        "model.onnx": model_digest,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "normalisation": normalisation,
        "metric": metric,
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def canonical_json(value: object) -> bytes:
    """UTF-8 JSON with sorted keys and no white space: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle folder. Raises BundleFormatError."""
    path = folder / MANIFEST_NAME
    try:
        fields = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise BundleFormatError(
            "not a model bundle",
            where=folder,
            expected=f"a folder with {MANIFEST_NAME}",
            found="no such file" if folder.is_dir() else "no such folder",
            remedy="make one with `crossmatch model export`",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleFormatError("can not be read as JSON", where=path, found=error) from error
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:  # in Python, true and 1.0 equal 1
        raise BundleFormatError(
            "a bundle format that this program does not read",
            where=path,
            expected=f"format_version {FORMAT_VERSION}",
            found=version,
            remedy="use the Crossmatch version that wrote it, or a newer one",
        )
    _check_preprocessing(path, fields.get("preprocessing"))
    try:
        return Manifest.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BundleFormatError(f"field `{field}` does not fit: {first['msg']}", where=path) from error


def _check_preprocessing(path: Path, fields: object) -> None:
    """`Preprocessing` has defaults, for those who write one; in the file every field must be there."""
    for name in Preprocessing.model_fields:
        if isinstance(fields, dict) and name not in fields:
            raise BundleFormatError(f"field `preprocessing.{name}` does not fit: it is missing", where=path)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def render_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, indented for people."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`."""
    (folder / MANIFEST_NAME).write_bytes(render_manifest(manifest))
