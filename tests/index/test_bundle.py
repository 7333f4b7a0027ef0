"""Writing bundles whole, and reading only those that are what they say."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.bundle import (
    OPTIONAL,
    REQUIRED,
    Bundle,
    BundleDescription,
    Golden,
    describe_bundle,
    read_bundle,
    read_golden,
    write_bundle,
)
from index.errors import BundleDigestError, BundleFormatError, UsageError
from index.manifest import MANIFEST_NAME, file_digest, write_manifest
from tests.tiny_model import RULE, describe_tiny, tiny_calibration

MakeBundle = Callable[..., Bundle]


@pytest.fixture
def own(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle's folder that may be spoilt."""
    return Path(shutil.copytree(tiny_bundle.folder, tmp_path / "own"))


def rewrite(folder: Path, **changes: Any) -> None:
    """Give the manifest of `folder` other fields."""
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def put_golden(folder: Path, content: bytes) -> Bundle:
    """Replace the golden pictures and the digest that names them, as one who means harm would."""
    (folder / "golden.npz").write_bytes(content)
    files = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["files"]
    rewrite(folder, files=files | {"golden.npz": file_digest(folder / "golden.npz")})
    return read_bundle(folder)


def archive(**arrays: Any) -> bytes:
    """The bytes of an .npz file; object arrays are pickled into it."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def write_again(bundle: Bundle, folder: Path, files: Path | None = None, **changes: Any) -> Bundle:
    """The same model as another bundle, with another description."""
    description = dataclasses.replace(describe_tiny(), **changes)
    return write_bundle(folder, files or bundle.folder, read_golden(bundle), description)


def test_round_trip(tiny_bundle: Bundle) -> None:
    bundle = read_bundle(tiny_bundle.folder)
    assert bundle == tiny_bundle
    assert bundle.manifest.preprocessing == RULE
    assert (bundle.manifest.embedding_size, bundle.manifest.backbone) == (16, "tiny")
    assert sorted(path.name for path in bundle.folder.iterdir()) == ["golden.npz", "manifest.json", "model.onnx"]
    assert bundle.model_path.is_file()


def test_golden_round_trip(tiny_bundle: Bundle, tmp_path: Path) -> None:
    golden = read_golden(tiny_bundle)
    assert golden.vectors.shape == (len(golden.pictures), 16)
    copy = read_golden(write_again(tiny_bundle, tmp_path / "copy"))
    assert copy.pictures == golden.pictures
    assert copy.vectors.tobytes() == golden.vectors.tobytes()


def test_same_bundle_is_made_again(make_tiny_bundle: MakeBundle, tiny_bundle: Bundle, tmp_path: Path) -> None:
    assert make_tiny_bundle(tmp_path / "a").manifest.model_id == tiny_bundle.manifest.model_id
    assert make_tiny_bundle(tmp_path / "b", seed=1).manifest.model_id != tiny_bundle.manifest.model_id


def test_optional_files_are_carried_and_checked(tiny_bundle: Bundle, tmp_path: Path) -> None:
    files = tmp_path / "files"
    shutil.copytree(tiny_bundle.folder, files)
    for name in OPTIONAL:
        (files / name).write_text(name)
    (files / "checkpoint.pt").write_text("is no part of a bundle")
    bundle = write_again(tiny_bundle, tmp_path / "whole", files)
    assert set(bundle.manifest.files) == {*REQUIRED, *OPTIONAL}
    assert {path.name for path in bundle.folder.iterdir()} == {*REQUIRED, *OPTIONAL, MANIFEST_NAME}


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_altered_byte_is_found_and_named(tiny_bundle: Bundle, tmp_path: Path, name: str, place: float) -> None:
    files = tmp_path / "files"
    shutil.copytree(tiny_bundle.folder, files)
    for optional in OPTIONAL:
        (files / optional).write_text("some content")
    folder = write_again(tiny_bundle, tmp_path / "whole", files).folder
    data = bytearray((folder / name).read_bytes())
    data[int(place * len(data))] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleDigestError, match=f"{name}: the file is not the one .*copy the bundle again"):
        read_bundle(folder)


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_file_is_named(own: Path, name: str) -> None:
    (own / name).unlink()
    with pytest.raises(BundleFormatError, match=f"{name}: .*missing"):
        read_bundle(own)
    (own / name).mkdir()
    with pytest.raises(BundleFormatError, match=f"{name}: .*unreadable"):
        read_bundle(own)


@pytest.mark.parametrize("name", REQUIRED)
def test_file_that_the_manifest_does_not_list(own: Path, tiny_bundle: Bundle, name: str) -> None:
    rewrite(own, files={key: value for key, value in tiny_bundle.manifest.files.items() if key != name})
    with pytest.raises(BundleFormatError, match=f"does not list {name}"):
        read_bundle(own)


@pytest.mark.parametrize(
    "name",
    ["../secret/model.onnx", "../model.onnx", "sub/model.onnx", "./model.onnx", "other.bin", "", ".", "/etc/hosts"],
)
def test_path_that_leads_elsewhere_is_refused(own: Path, tiny_bundle: Bundle, name: str) -> None:
    for other in (own.parent / "secret", own / "sub", own.parent):
        other.mkdir(exist_ok=True)
        shutil.copyfile(tiny_bundle.model_path, other / "model.onnx")
    rewrite(own, files=dict(tiny_bundle.manifest.files) | {name: tiny_bundle.manifest.files["model.onnx"]})
    with pytest.raises(BundleFormatError, match="which no bundle has"):
        read_bundle(own)


def test_edited_model_id(own: Path) -> None:
    rewrite(own, model_id="0" * 64)
    with pytest.raises(BundleDigestError, match="the model id does not follow"):
        read_bundle(own)


def test_edited_preprocessing(own: Path) -> None:
    rewrite(own, preprocessing=RULE.model_copy(update={"resize": 37}).model_dump(mode="json"))
    with pytest.raises(BundleDigestError, match="the model id does not follow"):
        read_bundle(own)


def test_model_id_does_not_change_with_what_is_said_about_it(tiny_bundle: Bundle, tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "evaluation": {"recall@1": 0.5},
        "weights": "elsewhere",
        "backbone": "other",
        "created_with": {"onnx": "9"},
    }
    for name, value in said.items():
        bundle = write_again(tiny_bundle, tmp_path / name, **{name: value})
        assert bundle.manifest.model_id == tiny_bundle.manifest.model_id
        assert getattr(bundle.manifest, name) == value
    bundle = write_again(tiny_bundle, tmp_path / "calibration", calibration=tiny_calibration())
    assert bundle.manifest.model_id == tiny_bundle.manifest.model_id
    assert bundle.calibration == tiny_calibration()
    manifest = tiny_bundle.manifest.model_copy(update={"evaluation": {"a": 1}})
    write_manifest(tmp_path / "weights", manifest)
    assert read_bundle(tmp_path / "weights").manifest.model_id == tiny_bundle.manifest.model_id


def test_model_id_changes_with_the_preprocessing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    other = RULE.model_copy(update={"interpolation": "bicubic"})
    bundle = write_again(tiny_bundle, tmp_path / "other", preprocessing=other)
    assert bundle.manifest.model_id != tiny_bundle.manifest.model_id


def foreign_folders(folder: Path) -> dict[str, Path]:
    """Things that may be where a bundle should go, none of which may be lost."""
    for name in ("notes", "web", "index", "part"):
        (folder / name).mkdir()
    (folder / "notes/letter.txt").write_text("dear")
    (folder / "web/manifest.json").write_text("{}")
    (folder / "web/index.html").write_text("hello")
    (folder / "index/manifest.json").write_text("{}")
    (folder / "index/model").mkdir()
    (folder / "part/report.html").write_text("alone")
    (folder / "file").write_text("content")
    return {name: folder / name for name in ("notes", "web", "index", "part", "file")}


@pytest.mark.parametrize("name", ["notes", "web", "index", "part", "file"])
def test_what_is_no_bundle_is_not_overwritten(tiny_bundle: Bundle, tmp_path: Path, name: str) -> None:
    path = foreign_folders(tmp_path)[name]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=f"{name}: the output is in the way") as caught:
        write_again(tiny_bundle, path)
    assert caught.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_empty_folder_and_missing_parents_are_fine(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a/b/c"):
        assert write_again(tiny_bundle, folder).folder == folder


def test_bundle_is_replaced(make_tiny_bundle: MakeBundle, own: Path) -> None:
    (own / "report.html").write_text("of the old one")
    new = make_tiny_bundle(own, seed=5)
    assert read_bundle(own).manifest.model_id == new.manifest.model_id
    assert not (own / "report.html").exists()
    assert [path.name for path in own.parent.iterdir()] == ["own"]


def test_bundle_may_be_written_over_itself(own: Path) -> None:
    bundle = write_again(read_bundle(own), own, own, evaluation={"recall@1": 0.9})
    assert read_bundle(own).manifest.evaluation == bundle.manifest.evaluation == {"recall@1": 0.9}


@pytest.mark.parametrize("failing", [1, 2])
def test_old_bundle_outlives_a_write_that_fails(own: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """The `failing`-th rename breaks: first the old bundle's, then the new one's."""
    bundle = read_bundle(own)
    rename, calls = Path.rename, []

    def break_once(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", break_once)
        with pytest.raises(OSError, match="No space left"):
            write_again(bundle, own, evaluation={"new": 1})
    assert read_bundle(own) == bundle
    assert [path.name for path in own.parent.iterdir()] == ["own"]


def test_figure_that_is_no_number_becomes_null(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = write_again(tiny_bundle, tmp_path / "bundle", evaluation={"recall@1": float("nan"), "loss": 0.5})
    assert bundle.manifest.evaluation == {"recall@1": None, "loss": 0.5}


def test_failed_first_write_leaves_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with pytest.raises(BundleFormatError, match=r"files: there is no model .*model\.onnx"):
        write_again(tiny_bundle, tmp_path / "bundle", files)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


VECTORS = np.eye(2, 16, dtype=np.float32)
PICTURE = np.zeros(3, np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can not be read"),
        (b"no archive", "can not be read"),
        (archive(vectors=VECTORS)[:-40], "can not be read"),
        (archive(other=VECTORS), "can not be read"),
        (archive(vectors=VECTORS, picture_0=PICTURE), "can not be read"),
        (archive(vectors=np.array([object()])), "can not be read .*pickle"),
        (archive(vectors=VECTORS, picture_0=np.array([object()]), picture_1=PICTURE), "can not be read .*pickle"),
        (archive(vectors=np.array("text")), "can not be read"),
        (archive(vectors=np.float32(1)), "can not be read"),
        (archive(vectors=VECTORS[:0]), "wrong shape"),
        (archive(vectors=VECTORS[:, :8], picture_0=PICTURE, picture_1=PICTURE), r"expected \(n, 16\), found \(2, 8\)"),
        (archive(vectors=VECTORS[0], **{f"picture_{i}": PICTURE for i in range(16)}), "wrong shape"),
        (archive(vectors=2 * VECTORS, picture_0=PICTURE, picture_1=PICTURE), "not of length 1"),
        (archive(vectors=np.nan * VECTORS, picture_0=PICTURE, picture_1=PICTURE), "not of length 1"),
    ],
)
def test_malformed_golden_pictures(own: Path, content: bytes, message: str) -> None:
    bundle = put_golden(own, content)
    with pytest.raises(BundleFormatError, match=f"(?s)golden.npz: .*{message}") as caught:
        read_golden(bundle)
    assert "\n" not in str(caught.value)


def test_npy_file_in_the_place_of_an_archive(own: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, VECTORS)
    with pytest.raises(BundleFormatError, match="can not be read"):
        read_golden(put_golden(own, buffer.getvalue()))


def test_nothing_in_a_bundle_is_a_pickle(tiny_bundle: Bundle) -> None:
    with np.load(tiny_bundle.folder / "golden.npz", allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays.files} == {"f", "u"}


def test_description(tiny_bundle: Bundle) -> None:
    assert describe_bundle(tiny_bundle) == {
        "bundle": str(tiny_bundle.folder),
        "model": tiny_bundle.manifest.model_id,
        "backbone": "tiny",
        "weights": "random, seed 0",
        "embedding_size": 16,
        "input_size": 32,
    }


def test_golden_and_description_are_frozen() -> None:
    for value in (Golden((), VECTORS), BundleDescription("a", "b", 1, RULE)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.pictures = ()  # type: ignore[union-attr, misc]
