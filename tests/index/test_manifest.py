"""The manifest's fields, its file and the model id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from index.bundle import Bundle
from index.errors import BundleFormatError
from index.manifest import (
    MANIFEST_NAME,
    Manifest,
    TrainingData,
    canonical_json,
    compute_model_id,
    file_digest,
    read_manifest,
    write_manifest,
)
from index.preprocess import Preprocessing

RULE = Preprocessing(resize=40, input_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
NULLABLE = {"feature_map_channels", "training", "evaluation", "calibration"}

Fields = dict[str, Any]


@pytest.fixture
def fields(tiny_bundle: Bundle) -> Fields:
    """The tiny bundle's manifest as JSON fields, to be spoilt."""
    found: Fields = json.loads((tiny_bundle.folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    return found


def read(folder: Path, fields: object) -> Manifest:
    """The manifest of a folder where `fields` are the file."""
    (folder / MANIFEST_NAME).write_text(json.dumps(fields), encoding="utf-8")
    return read_manifest(folder)


def test_round_trip_with_every_field_filled(tmp_path: Path, fields: Fields) -> None:
    training = TrainingData(
        name="Äpfel", digest="0" * 64, pictures=3, classes=("a", "b"), seed=7, config={"a": [1, None]}, versions={}
    )
    changes = {"training": training, "evaluation": {"recall@1": 0.5}, "calibration": {"a": 1.0, "b": [2]}}
    manifest = read(tmp_path, fields).model_copy(update=changes)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    text = (tmp_path / MANIFEST_NAME).read_text(encoding="utf-8")
    assert "Äpfel" in text
    assert text.startswith('{\n  "format_version": 1,')
    assert text.endswith("}\n")


def test_every_field_is_in_the_file_and_only_documented_ones_may_be_null(tmp_path: Path, fields: Fields) -> None:
    assert set(fields) == set(Manifest.model_fields)
    for name in fields:
        spoilt = fields | {name: None}
        if name in NULLABLE:
            assert getattr(read(tmp_path, spoilt), name) is None
        else:
            with pytest.raises(BundleFormatError):
                read(tmp_path, spoilt)


@pytest.mark.parametrize("name", sorted(Manifest.model_fields))
def test_missing_field_is_named(tmp_path: Path, fields: Fields, name: str) -> None:
    del fields[name]
    with pytest.raises(BundleFormatError, match=name) as caught:
        read(tmp_path, fields)
    assert str(tmp_path / MANIFEST_NAME) in str(caught.value)


def test_unknown_field_is_named(tmp_path: Path, fields: Fields) -> None:
    with pytest.raises(BundleFormatError, match="field `extra` does not fit"):
        read(tmp_path, fields | {"extra": 1})
    with pytest.raises(BundleFormatError, match=r"field `preprocessing\.gamma` does not fit"):
        read(tmp_path, fields | {"preprocessing": fields["preprocessing"] | {"gamma": 1}})


@pytest.mark.parametrize("name", sorted(Preprocessing.model_fields))
def test_missing_preprocessing_field_is_named(tmp_path: Path, fields: Fields, name: str) -> None:
    del fields["preprocessing"][name]
    with pytest.raises(BundleFormatError, match=rf"preprocessing\.{name}"):
        read(tmp_path, fields)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, [], {}, True, 1.0])
def test_unknown_format_version(tmp_path: Path, fields: Fields, version: object) -> None:
    with pytest.raises(BundleFormatError, match=r"expected format_version 1.*use the Crossmatch version"):
        read(tmp_path, fields | {"format_version": version})


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "abc"},
        {"model_id": "A" * 64},
        {"embedding_size": 0},
        {"embedding_size": "many"},
        {"metric": "euclidean"},
        {"normalisation": "none"},
        {"files": ["model.onnx"]},
        {"backbone": 3},
        {"preprocessing": {}},
        {"evaluation": []},
    ],
    ids=str,
)
def test_field_that_does_not_fit_is_named(tmp_path: Path, fields: Fields, changes: Fields) -> None:
    with pytest.raises(BundleFormatError, match=f"field `{next(iter(changes))}"):
        read(tmp_path, fields | changes)


def test_crop_larger_than_what_it_is_cut_from(tmp_path: Path, fields: Fields) -> None:
    fields["preprocessing"]["resize"] = 8
    with pytest.raises(BundleFormatError, match=r"resize \(8\) is smaller than input_size \(32\)"):
        read(tmp_path, fields)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"1", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format_version": NaN}', b'{"a": -Infinity}'],
    ids=lambda content: repr(content[:12]),
)
def test_file_that_is_no_manifest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(BundleFormatError, match=MANIFEST_NAME):
        read_manifest(tmp_path)


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"found no such file.*crossmatch model export"):
        read_manifest(tmp_path)
    with pytest.raises(BundleFormatError, match="found no such folder"):
        read_manifest(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(BundleFormatError, match="file"):
        read_manifest(tmp_path / "file")
    (tmp_path / MANIFEST_NAME).mkdir()
    with pytest.raises(BundleFormatError, match="can not be read"):
        read_manifest(tmp_path)


def test_model_id_is_what_the_documentation_says() -> None:
    """Computed here from the words in `docs/artifacts.md`, not with the module's own routines."""
    text = (
        '{"metric":"cosine","model.onnx":"00ff","normalisation":"l2","preprocessing":{"crop":"center",'
        '"decode":"draft2x","input_size":32,"interpolation":"bilinear","mean":[0.5,0.5,0.5],"resize":40,'
        '"resize_mode":"shorter_side","std":[0.5,0.5,0.5]}}'
    )
    assert compute_model_id("00ff", RULE, "l2", "cosine") == hashlib.sha256(text.encode()).hexdigest()


CHANGES: list[Callable[[], str]] = [
    lambda: compute_model_id("00fe", RULE, "l2", "cosine"),
    lambda: compute_model_id("00ff", RULE, "none", "cosine"),
    lambda: compute_model_id("00ff", RULE, "l2", "dot"),
    *(
        (lambda changes=changes: compute_model_id("00ff", RULE.model_copy(update=changes), "l2", "cosine"))
        for changes in (
            {"resize": 41},
            {"input_size": 31},
            {"resize_mode": "squash"},
            {"interpolation": "bicubic"},
            {"mean": (0.5, 0.5, 0.51)},
            {"std": (0.5, 0.51, 0.5)},
        )
    ),
]


def test_model_id_changes_with_all_that_decides_a_vector() -> None:
    ids = [compute_model_id("00ff", RULE, "l2", "cosine"), *(change() for change in CHANGES)]
    assert len(set(ids)) == len(ids) == 10


def test_canonical_json() -> None:
    assert canonical_json({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'.encode()
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_file_digest(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"x" * size).hexdigest()
