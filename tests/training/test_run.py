from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from index.encoder import Encoder, verify_golden
from index.errors import UsageError
from training.backbones import build_backbone
from training.config import Config
from training.loop import Trainer
from training.run import train_bundle


def read_rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_from_pictures_to_an_evaluated_bundle(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    config = make_config(data__holdout=0.34, train__epochs=2, evaluation__input_size=40)
    result = train_bundle(config, tmp_path / "run")
    manifest = result.bundle.manifest
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["bundle", "checkpoint.pt", "metrics.jsonl"]
    assert verify_golden(Encoder(result.bundle)) > 0.9999
    assert manifest.preprocessing.input_size == 40
    assert manifest.training is not None
    assert (manifest.training.pictures, len(manifest.training.classes)) == (16, 4)
    assert manifest.training.config == json.loads(json.dumps(config.as_dict()))
    assert manifest.evaluation is not None
    assert manifest.evaluation["held_out"]["self"]["model"] == manifest.model_id
    assert not set(manifest.evaluation["held_out_classes"]) & set(manifest.training.classes)
    rows = read_rows(tmp_path / "run")
    assert [(row["kind"], row["epoch"]) for row in rows] == [
        ("step", 1), ("step", 1), ("epoch", 1), ("validation", 1),
        ("step", 2), ("step", 2), ("epoch", 2), ("validation", 2),
    ]  # fmt: skip
    assert rows[-1]["protocols"] == manifest.evaluation["held_out"] == result.held_out


def test_an_interrupted_run_goes_on_and_ends_in_the_same_weights(
    tmp_path: Path,
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = make_config(model__pretrained_share=0.0)
    whole = train_bundle(config, tmp_path / "whole")
    run_epoch = Trainer.run_epoch

    def stop_in_the_second(trainer: Trainer, log: Any) -> None:
        if trainer.epochs_done == 1:
            log.write("step", 2, loss=0.0)
            raise KeyboardInterrupt
        run_epoch(trainer, log)

    monkeypatch.setattr(Trainer, "run_epoch", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train_bundle(config, tmp_path / "run")
    assert "saved after epoch 1" in capsys.readouterr().err
    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
    resumed = train_bundle(config, tmp_path / "run")
    assert "going on after epoch 1 of 2" in capsys.readouterr().err
    assert resumed.bundle.manifest.model_id == whole.bundle.manifest.model_id
    assert [row["kind"] for row in read_rows(tmp_path / "run")] == ["step", "step", "step", "epoch"] * 2
    with pytest.raises(UsageError, match=r"train\.epochs is 2 there and 5 here"):
        train_bundle(make_config(train__epochs=5), tmp_path / "run")


def test_a_share_of_the_starting_weights_is_in_the_export(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    torch.manual_seed(5)
    start = build_backbone("test_efficientnet", "none").network.state_dict()
    torch.save(start, tmp_path / "start.pth")
    config = make_config(model__weights=str(tmp_path / "start.pth"), model__pretrained_share=0.25, train__epochs=1)
    result = train_bundle(config, tmp_path / "run")
    exported = load_file(result.bundle.folder / "weights.safetensors")
    trained = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"]
    name = "conv_stem.weight"
    expected = 0.25 * start[name] + 0.75 * trained[f"embedder.backbone.{name}"]
    torch.testing.assert_close(exported[f"backbone.{name}"], expected)
    assert not torch.equal(start[name], trained[f"embedder.backbone.{name}"])
    assert result.bundle.manifest.evaluation is None  # nothing was held out


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match=r"thesis\.txt: the output is in the way"):
        train_bundle(make_config(), tmp_path)
