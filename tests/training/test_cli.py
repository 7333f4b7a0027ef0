from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from index.bundle import Bundle, read_bundle
from index.errors import UsageError
from tests.tiny_model import tiny_calibration
from training import cli
from training.finishing import RunResult, say_outcome

TINY = """
data: {name: folder}
model: {backbone: test_resnet, weights: none}
augmentation: {input_size: 32, resize: 36}
train: {epochs: 1, batch_size: 8, device: cpu}
"""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("train")(cli.train)
    app.command("export")(cli.export_model)
    return app


def test_train_from_a_file_and_words(app: typer.Typer, tmp_path: Path, drawn_pictures: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(TINY, encoding="utf-8")
    words = ["train", str(config), f"data.root={drawn_pictures}", "train.seed=3", "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    bundle = read_bundle(tmp_path / "run" / "bundle")
    assert printed == {
        "bundle": str(bundle.folder),
        "model": bundle.manifest.model_id,
        "epochs": 1,
        "held_out": None,
        "seen": None,
        "test": None,
        "calibration_error": None,
        "report": str(tmp_path / "run" / "report.html"),
    }
    assert bundle.manifest.training is not None
    assert bundle.manifest.training.seed == 3


def test_train_ends_with_where_things_are(app: typer.Typer, tmp_path: Path, drawn_pictures: Path) -> None:
    config, run = tmp_path / "run.yaml", tmp_path / "run"
    config.write_text(TINY, encoding="utf-8")
    words = ["train", str(config), f"data.root={drawn_pictures}", "--output", str(run)]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    first, second, third = result.stdout.splitlines()
    assert first == f"{run / 'bundle'}: model {read_bundle(run / 'bundle').manifest.model_id}"
    assert second == f"{run / 'report.html'}: the run in one page"
    assert third.startswith("not calibrated: data.holdout=0.25")
    calibrated = read_bundle(run / "bundle")
    fields = tiny_calibration().model_dump(mode="json")
    manifest = calibrated.manifest.model_copy(update={"calibration": fields})
    lines = say_outcome(RunResult(replace(calibrated, manifest=manifest), 1, ()))
    assert lines[2] == "calibrated: error 0.0200 on classes that the fit left out"


def test_export_through_torch(app: typer.Typer, tmp_path: Path) -> None:
    words = ["export", "--backbone", "test_vit", "--weights", "none", "--output", str(tmp_path / "bundle"), "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    manifest = read_bundle(tmp_path / "bundle").manifest
    assert json.loads(result.stdout)["backbone"] == manifest.backbone == "test_vit"
    assert manifest.feature_map_channels is None  # a transformer has no map to export


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_torch")
def test_without_torch_the_line_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^resnet50 .*needs torch; .*pip install '\.\[training\]'"):
        cli.export_model("resnet50", tmp_path / "bundle", "none")
    with pytest.raises(UsageError, match=r"^training needs torch; run `make install`"):
        cli.train(tmp_path / "run.yaml", tmp_path / "run")


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(
    ("backbone", "weights", "says"),
    [
        (
            "efficientnet_lite9",
            "pretrained",
            r"^efficientnet_lite9: no such backbone; did you mean efficientnet_lite2\?",
        ),
        ("tf_eficientnet_lite0", "none", r"no such backbone; did you mean efficientnet_lite0\?"),
        ("efficientnet_lite0", "pretrainde", r"^pretrainde: no such weights file .*; did you mean pretrained\?"),
        ("resnet50", "nowhere.pt", r"^nowhere\.pt: no such weights file"),
        ("efficientnet_lite4", "none", "needs torch"),  # timm's, and no misspelling
        ("efficientnet_b0", "none", "needs torch"),
    ],
)
def test_a_misspelling_is_named_before_torch_is(tmp_path: Path, backbone: str, weights: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        cli.export_model(backbone, tmp_path / "bundle", weights)


def test_a_bundle_that_is_there_is_replaced_only_when_told(
    app: typer.Typer, tmp_path: Path, tiny_bundle: Bundle
) -> None:
    there = tmp_path / "bundle"
    shutil.copytree(tiny_bundle.folder, there)
    before = {path.name: path.read_bytes() for path in there.iterdir()}
    words = ["export", "--backbone", "test_vit", "--weights", "none", "--output", str(there)]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith(f"{there}: a bundle is there already (expected a new folder); ")
    assert "--replace" in str(result.exception)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == before
    assert CliRunner().invoke(app, [*words, "--replace"], catch_exceptions=False).exit_code == 0
    assert read_bundle(there).manifest.backbone == "test_vit"


def test_importing_the_commands_needs_no_torch() -> None:
    code = (
        "import sys, training.cli, training.config_reading; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
