from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from index.bundle import Bundle, read_bundle
from index.datasets import grocery
from index.encoder import Encoder, verify_golden
from index.errors import UsageError
from tests.drawn_pictures import COLOURS, write_drawn_pictures
from tests.miniature_sets import write_grocery
from training import finishing, run
from training.backbones import build_backbone
from training.config import Config
from training.data import read_training_set
from training.loop import Trainer
from training.run import prepare_run, train_bundle


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_from_pictures_to_an_evaluated_bundle(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    config = make_config(data__holdout=0.34, train__epochs=2, evaluation__input_size=40)
    result = train_bundle(config, tmp_path / "run")
    manifest = result.bundle.manifest
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "bundle",
        "checkpoint.pt",
        "metrics.jsonl",
        "report.html",
    ]
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


def test_unseen_classes_calibrate_and_trained_ones_stand_beside(
    tmp_path: Path, make_config: Callable[..., Config]
) -> None:
    pictures = write_drawn_pictures(tmp_path / "drawn", per_label=12)
    config = make_config(data__root=str(pictures), data__holdout=0.34, train__epochs=1, calibration__prior=0.8)
    result = train_bundle(config, tmp_path / "run")
    assert result is not None
    evaluation, training = result.bundle.manifest.evaluation, result.bundle.manifest.training
    assert evaluation is not None
    assert training is not None
    assert len(evaluation["seen_classes"]) == len(evaluation["held_out_classes"]) == 2
    assert set(evaluation["seen_classes"]) < set(training.classes)
    for part in ("held_out", "seen"):
        figures = evaluation[part]["self"]
        interval = figures["intervals"]["recall@1"]
        assert figures["queries"] == 24
        assert interval["low"] <= figures["recall"]["1"] <= interval["high"]
    assert "test" not in evaluation
    calibration = result.bundle.calibration
    assert calibration is not None
    assert calibration.sampling.model_dump() == {
        "source": "held_out", "data": "folder", "protocol": "self", "folds": None,
        "classes": 2, "queries": 24, "gallery": 24, "prior": 0.8,
    }  # fmt: skip
    assert set(calibration.thresholds) == {"same_picture"}
    assert result.to_json()["calibration_error"] == calibration.expected_calibration_error
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert (result.bundle.folder / "report.html").read_text(encoding="utf-8") == report
    assert result.bundle.manifest.model_id in report


def test_a_run_on_all_classes_is_calibrated_by_folds(
    tmp_path: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[set[str]] = []
    examine = run.examine

    def note(bundle: Bundle, data: str, part: Any, protocols: Any) -> Any:
        assert bundle.manifest.training is not None
        classes = set(bundle.manifest.training.classes)
        asked = {str(picture.label) for one in protocols for picture in (*one.queries, *one.gallery)}
        assert not classes & asked
        trained.append(asked)
        return examine(bundle, data, part, protocols)

    monkeypatch.setattr(run, "examine", note)
    result = train_bundle(make_config(train__epochs=1, calibration__folds=2), tmp_path / "run")
    assert result.bundle.manifest.training is not None
    assert set(result.bundle.manifest.training.classes) == set(COLOURS)
    assert sorted(name for asked in trained for name in asked) == sorted(COLOURS)
    calibration = result.bundle.calibration
    assert calibration is not None
    assert calibration.sampling.source == "folds"
    assert (calibration.sampling.folds, calibration.sampling.queries, calibration.sampling.gallery) == (2, 24, 12)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"fold-1", "fold-2", "bundle"}


def test_more_folds_than_pairs_of_classes_are_refused(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    with pytest.raises(UsageError, match=r"calibration\.folds: too few classes .*at most 3 for 6 classes"):
        train_bundle(make_config(calibration__folds=4), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_has_no_test_classes(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    with pytest.raises(UsageError, match=r"evaluation\.test: the data has no test set"):
        train_bundle(make_config(evaluation__test=True), tmp_path / "run")


def test_an_interrupted_evaluation_leaves_the_bundle_that_was_there(
    tmp_path: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_bundle(make_config(train__epochs=1), tmp_path / "run")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(finishing, "_examine_all", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_bundle(make_config(train__epochs=1, evaluation__input_size=40), tmp_path / "run")
    assert read_bundle(first.bundle.folder) == first.bundle
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "bundle",
        "checkpoint.pt",
        "metrics.jsonl",
        "report.html",
    ]


def test_the_test_classes_are_read_only_where_the_run_says_so(
    tmp_path: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_grocery(tmp_path / "grocery") / "dataset"
    config = make_config(data__name="grocery", data__root=str(root), train__epochs=1, evaluation__test=True)
    result = train_bundle(config, tmp_path / "run")
    odd = {class_.name for class_ in grocery.read_classes(root) if class_.is_test}
    asked = {
        one.part: {str(picture.label) for picture in (*one.protocol.queries, *one.protocol.gallery)}
        for one in result.examinations
    }
    assert asked["test"] <= odd
    assert not asked["seen"] & odd
    assert set(result.figures("test")) == set(result.figures("seen")) == {"shelf", "catalogue"}

    def refuse(*_: Any) -> None:
        raise AssertionError("the test classes were read")

    monkeypatch.setattr(finishing, "own_test_protocols", refuse)
    config = make_config(data__name="grocery", data__root=str(root), train__epochs=1)
    assert train_bundle(config, tmp_path / "other").bundle.manifest.evaluation is None


def test_an_interrupted_run_goes_on_and_ends_in_the_same_weights(
    tmp_path: Path,
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = make_config(model__pretrained_share=0.0)
    whole = train_bundle(config, tmp_path / "whole")
    run_epoch = Trainer.run_epoch

    def stop_in_the_second(trainer: Trainer, log: Any, save: Any) -> None:
        if trainer.epochs_done == 1:
            log.write("step", 2, loss=0.0)
            raise KeyboardInterrupt
        run_epoch(trainer, log, save)

    monkeypatch.setattr(Trainer, "run_epoch", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train_bundle(config, tmp_path / "run")
    assert "checkpoint.pt, after step 3; the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
    resumed = train_bundle(config, tmp_path / "run")
    assert "after step 3 (epoch 1 of 2 is whole)" in capsys.readouterr().err
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
    assert result.bundle.calibration is None


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match=r"thesis\.txt: the output is in the way"):
        train_bundle(make_config(), tmp_path)


def test_a_pairwise_loss_without_pairs_is_noted(
    tmp_path: Path, make_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(loss__name="contrastive", train__batch_size=2, train__epochs=1)
    prepare_run(config, read_training_set(config.data), tmp_path)
    assert "contrastive compares pairs: say train.sampler=m_per_class" in capsys.readouterr().err
    config = make_config(loss__name="contrastive", train__sampler="m_per_class", train__epochs=1)
    prepare_run(config, read_training_set(config.data), tmp_path)
    assert "compares pairs" not in capsys.readouterr().err
