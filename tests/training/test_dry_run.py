"""Every configuration that ships is loaded and tried out: on miniatures of its data, with a small model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from index.errors import SourceError, UsageError
from tests.miniature_sets import MINIATURES, write_picture
from training import cli
from training.config import Config
from training.config_reading import read_config
from training.dry_run import try_out

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = ("cub", "cars", "sop", "inshop")
SMALL = ["model.backbone=test_resnet", "model.weights=none", "model.pretrained_share=0", "data.cache_gib=0.1"]
SMALL += ["augmentation.input_size=32", "augmentation.resize=36", "evaluation.input_size=null", "evaluation.resize=36"]
SMALL += ["train.batch_size=4", "train.device=cpu"]


def write_folder(folder: Path) -> Path:
    """Four classes of four pictures, of which `data.holdout` keeps two out."""
    for number in range(16):
        write_picture(folder / f"class-{number % 4}" / f"{number}.jpg", "red", number)
    return folder


MAKERS = {**MINIATURES, "folder": write_folder}


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("train")(cli.train)
    app.command("export")(cli.export_model)
    return app


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_tried_out(app: typer.Typer, tmp_path: Path, path: Path) -> None:
    name = path.stem.split("_")[0]
    root = MAKERS[name](tmp_path / "data")
    place = root / "dataset" if name == "grocery" else root
    words = ["train", str(path), f"data.root={place}", *SMALL, "--dry-run", "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["data"], found["pictures"], found["classes"], found["steps_per_epoch"]) == (name, 8, 2, 2)
    assert found["loss"] > 0
    assert found["parameters"] > 1000
    assert [one.name for one in tmp_path.iterdir()] == ["data"]


def test_the_papers_table() -> None:
    """The values in which its four columns differ, and what they share."""
    configs = {name: read_config(CONFIGS / f"{name}.yaml") for name in PAPER}
    assert [(c.train.epochs, c.optimiser.learning_rate, c.optimiser.momentum) for c in configs.values()] == [
        (30, 0.02, 0.0), (100, 0.05, 0.0), (100, 0.003, 0.99), (100, 0.003, 0.99),
    ]  # fmt: skip
    assert [c.optimiser.nesterov for c in configs.values()] == [False, False, True, True]
    assert [c.model.feature_norm for c in configs.values()] == ["none", "batch", "batch", "batch"]
    assert [c.augmentation.resize_mode for c in configs.values()] == [
        "shorter_side",
        "squash",
        "squash",
        "shorter_side",
    ]
    assert [c.augmentation.jitter for c in configs.values()] == [
        (0.25, 0.25, 0.25, 0.0), (0.3, 0.3, 0.3, 0.1), (0.0,) * 4, (0.0,) * 4,
    ]  # fmt: skip
    assert [c.augmentation.crop_aspect == (1.0, 1.0) for c in configs.values()] == [False, True, False, False]
    for config in configs.values():
        assert (config.train.batch_size, config.loss.name, config.loss.smoothing) == (128, "cross_entropy", 0.1)
        assert (config.model.dropout, config.optimiser.weight_decay) == (0.5, 5e-4)
        assert (config.augmentation.input_size, config.augmentation.crop_area) == (224, (0.16, 1.0))
        assert (config.schedule.warmup, config.model.projection, config.model.freeze_batch_norm) == (100, None, True)


@pytest.mark.parametrize("name", PAPER)
def test_each_value_of_the_papers_has_its_source(name: str) -> None:
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if line.startswith("  ") and "name: " + name not in line and "root:" not in line]
    assert len(values) > 30
    assert not [line for line in values if "# paper" not in line and "# ours" not in line]


def test_a_picture_that_is_not_there(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    root = MINIATURES["sop"](tmp_path)
    gone = root / "Stanford_Online_Products/bicycle_final/111085100002_3.JPG"
    gone.unlink()
    with pytest.raises(SourceError, match=r"111085100002_3\.JPG: the picture is not there"):
        try_out(make_config(data__name="sop", data__root=str(root)))


def test_a_run_has_a_folder_and_a_dry_run_none(tmp_path: Path) -> None:
    config = CONFIGS / "cub.yaml"
    for output, dry_run in ((None, False), (tmp_path / "run", True)):
        with pytest.raises(UsageError, match="either --output or --dry-run"):
            cli.train(config, output, None, dry_run)


def test_what_only_the_end_of_a_run_would_find_is_found(make_config: Callable[..., Config]) -> None:
    with pytest.raises(UsageError, match=r"evaluation\.test: the data has no test set"):
        try_out(make_config(evaluation__test=True))
    with pytest.raises(UsageError, match=r"calibration\.folds: too few classes"):
        try_out(make_config(calibration__folds=4))
