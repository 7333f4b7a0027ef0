from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from index.errors import CrossmatchError, UsageError
from index.preprocess import normalise
from training.backbones import build_backbone
from training.batches import Batch, BatchLoader
from training.checkpoint import RunIdentity, read_checkpoint, save_checkpoint
from training.config import Config
from training.data import read_training_set
from training.loop import Trainer, choose_device
from training.losses.registry import Shape, build_criterion
from training.metrics_log import MetricsLog
from training.model import Learner, build_embedder
from training.picture_cache import PictureCache

WEIGHT = "criterion.classifier.linear.weight"


def make_trainer(config: Config, folder: Path) -> Trainer:
    torch.manual_seed(config.train.seed)
    data = read_training_set(config.data)
    backbone = build_backbone(config.model.backbone, config.model.weights)
    rule = backbone.preprocessing_at(32, 36)
    cache = PictureCache([picture.path for picture in data.pictures], rule, 1.0)
    cache.fill()
    loader = BatchLoader(cache, data.labels, config.augmentation, config.train)
    embedder = build_embedder(backbone, config.model)
    criterion = build_criterion(config.loss, Shape(embedder.size, len(data.classes), config.model.dropout))
    return Trainer(config, Learner(embedder, criterion), loader, rule, folder / "checkpoint.pt")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[MetricsLog]:
    with MetricsLog(tmp_path / "metrics.jsonl", 0) as log:
        yield log


def test_a_resumed_run_ends_in_the_same_weights(
    tmp_path: Path, make_config: Callable[..., Config], log: MetricsLog
) -> None:
    config = make_config(train__epochs=3, train__ema=0.9, model__feature_norm="batch", model__freeze_batch_norm=False)
    identity = RunIdentity(config, (), "")
    whole = make_trainer(config, tmp_path)
    for _ in range(3):
        whole.run_epoch(log)
    first = make_trainer(config, tmp_path)
    first.run_epoch(log)
    save_checkpoint(tmp_path / "checkpoint.pt", identity, first.state())
    resumed = make_trainer(config, tmp_path)
    torch.manual_seed(99)
    checkpoint = read_checkpoint(tmp_path / "checkpoint.pt", identity)
    assert checkpoint is not None
    resumed.resume(checkpoint)
    for _ in range(2):
        resumed.run_epoch(log)
    expected = whole.model.state_dict()
    assert not torch.equal(expected[WEIGHT], first.model.state_dict()[WEIGHT])
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    averaged = whole.embedder.state_dict()
    assert not torch.equal(averaged["backbone.conv_stem.weight"], expected["embedder.backbone.conv_stem.weight"])
    for name, tensor in resumed.embedder.state_dict().items():
        assert torch.equal(tensor, averaged[name]), name


def test_it_learns_and_logs_the_parts(tmp_path: Path, make_config: Callable[..., Config], log: MetricsLog) -> None:
    config = make_config(
        train__epochs=8, model__dropout=0.0, model__freeze_batch_norm=False, optimiser__learning_rate=0.05
    )
    trainer = make_trainer(config, tmp_path)
    for _ in range(8):
        trainer.run_epoch(log)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if row["kind"] == "step"]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [row["step"] for row in steps] == list(range(1, 25))
    assert all(row["loss"] == pytest.approx(row["tightness"] + row["contrast"], abs=1e-5) for row in steps)
    assert steps[0]["loss"] == pytest.approx(np.log(6), abs=1e-5)  # a classifier of zeros
    assert epochs[-1]["loss"] < 0.8 * epochs[0]["loss"]
    assert [row["epoch"] for row in epochs] == list(range(1, 9))


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    tmp_path: Path, make_config: Callable[..., Config], log: MetricsLog
) -> None:
    trainer = make_trainer(make_config(), tmp_path)
    trainer.run_epoch(log)
    trainer.state()
    with torch.no_grad():
        trainer.model.get_parameter(WEIGHT.replace("weight", "bias"))[0] = float("inf")
    before = trainer.model.get_parameter(WEIGHT).detach().clone()
    with pytest.raises(CrossmatchError, match=r"at step 4 .*last good checkpoint is .*checkpoint\.pt, after step 3"):
        trainer.run_epoch(log)
    assert torch.equal(trainer.model.get_parameter(WEIGHT), before)


def test_batches_are_normalised_as_in_the_index(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    trainer = make_trainer(make_config(), tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    prepared = trainer.stepper.prepare(Batch(pixels, np.zeros(2, np.int64)))
    rule = build_backbone("test_efficientnet", "none").preprocessing
    expected = np.stack([normalise(Image.fromarray(picture), rule) for picture in pixels])
    np.testing.assert_allclose(prepared.numpy(), expected, atol=1e-6)
    assert prepared.is_contiguous(memory_format=torch.channels_last)


def test_weights_are_channels_last(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    weights = [p for p in make_trainer(make_config(), tmp_path).model.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_no_gpu_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(UsageError, match=r"train\.device"):
        choose_device("cuda")
