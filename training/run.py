"""A training run from a configuration to an evaluated bundle: what is in the folder RUN, and in which order it comes.

Read data -> build the model -> epochs, each with a checkpoint and a look at the held-out classes -> export ->
evaluate the export. Given again, the same command goes on after the last whole epoch.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from index.bundle import Bundle
from index.errors import UsageError
from index.manifest import TrainingData
from index.model_export import installed_versions
from index.preprocess import Preprocessing
from index.terminal import print_note, progress_bar
from training.backbones import Backbone, build_backbone
from training.batches import BatchLoader
from training.checkpoint import CHECKPOINT_NAME, RunIdentity, read_checkpoint, save_checkpoint
from training.config import Config
from training.data import TrainingSet, data_digest, read_training_set
from training.export import Exporter, ExportPlan, export_bundle
from training.loop import Trainer
from training.losses.registry import Shape, build_criterion
from training.metrics_log import METRICS_NAME, MetricsLog
from training.model import Embedder, Learner, build_embedder, interpolate_weights
from training.picture_cache import PictureCache
from training.validation import Figures, validate

BUNDLE_NAME = "bundle"
_OWN = frozenset({BUNDLE_NAME, METRICS_NAME, CHECKPOINT_NAME, Path(CHECKPOINT_NAME).with_suffix(".tmp").name})
_TOOLS = ("crossmatch", "torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class RunResult:
    """What a run leaves."""

    bundle: Bundle
    epochs: int
    held_out: Figures  # empty where no class was held out

    def to_json(self) -> dict[str, Any]:
        """What `crossmatch train --json` prints."""
        manifest = self.bundle.manifest
        return {
            "bundle": str(self.bundle.folder),
            "model": manifest.model_id,
            "epochs": self.epochs,
            "held_out": self.held_out or None,
        }


@dataclass(frozen=True)
class Prepared:
    """All that the epochs and the export need."""

    config: Config
    data: TrainingSet
    backbone: Backbone
    test_rule: Preprocessing
    start: dict[str, Tensor]  # the backbone's weights before training; empty if they have no share
    identity: RunIdentity


def train_bundle(config: Config, output: Path) -> RunResult:
    """Train as `config` says; RUN/bundle, RUN/metrics.jsonl and RUN/checkpoint.pt are in the folder `output` then.

    Raises UsageError for what does not fit, ImageError for a broken picture, and CrossmatchError at a loss that is
    not finite. KeyboardInterrupt leaves the checkpoint of the last whole epoch.
    """
    _check_output(output)
    trainer, prepared = prepare_run(config, read_training_set(config.data), output)
    output.mkdir(parents=True, exist_ok=True)
    _run_epochs(trainer, prepared, output)
    return _finish(trainer, prepared, output)


def prepare_run(config: Config, data: TrainingSet, output: Path) -> tuple[Trainer, Prepared]:
    """Read the pictures and build the model; nothing is written. Raises as `train_bundle`."""
    torch.manual_seed(config.train.seed)
    backbone = build_backbone(config.model.backbone, config.model.weights)
    train_rule, test_rule = _choose_rules(config, backbone)
    cache = PictureCache([picture.path for picture in data.pictures], train_rule, config.data.cache_gib)
    loader = BatchLoader(cache, data.labels, config.augmentation, config.train)
    embedder = build_embedder(backbone, config.model)
    shape = Shape(embedder.size, len(data.classes), config.model.dropout)
    model = Learner(embedder, build_criterion(config.loss, shape))
    start = copy.deepcopy(backbone.network.state_dict()) if config.model.pretrained_share else {}
    with progress_bar("Reading pictures") as on_progress:
        cache.fill(on_progress)
    identity = RunIdentity(config, data.classes, data_digest(data.pictures, cache.digests))
    prepared = Prepared(config, data, backbone, test_rule, start, identity)
    return Trainer(config, model, loader, train_rule, output / CHECKPOINT_NAME), prepared


def _check_output(output: Path) -> None:
    """Refuse a folder with anything in it that is not a run's."""
    strange = output if output.is_file() else None
    if output.is_dir():
        strange = next((path for path in sorted(output.iterdir()) if path.name not in _OWN), None)
    if strange:
        raise UsageError(
            "the output is in the way",
            where=strange,
            expected="a new folder, or a run to go on with",
            remedy="choose another --output",
        )


def _choose_rules(config: Config, backbone: Backbone) -> tuple[Preprocessing, Preprocessing]:
    """How pictures are resized in training, and the whole preprocessing in test."""
    augmentation, evaluation = config.augmentation, config.evaluation
    mode = augmentation.resize_mode
    test_size = evaluation.input_size or augmentation.input_size
    return (
        backbone.preprocessing_at(augmentation.input_size, augmentation.resize, mode),
        backbone.preprocessing_at(test_size, evaluation.resize, mode),
    )


def _run_epochs(trainer: Trainer, prepared: Prepared, output: Path) -> None:
    checkpoint_path, epochs = output / CHECKPOINT_NAME, prepared.config.train.epochs
    checkpoint = read_checkpoint(checkpoint_path, prepared.identity)
    if checkpoint:
        trainer.resume(checkpoint)
        print_note(f"{checkpoint_path}: going on after epoch {checkpoint.epoch} of {epochs}")
    with MetricsLog(output / METRICS_NAME, trainer.epochs_done) as log:
        while trainer.epochs_done < epochs:
            try:
                trainer.run_epoch(log)
            except KeyboardInterrupt:
                print_note(_what_is_saved(trainer.epochs_done, checkpoint_path))
                raise
            _look_at_held_out(trainer, prepared, log)
            save_checkpoint(checkpoint_path, prepared.identity, trainer.state())


def _what_is_saved(epochs_done: int, path: Path) -> str:
    if not epochs_done:
        return "interrupted in the first epoch: nothing is saved yet"
    return f"{path}: saved after epoch {epochs_done}; the same command goes on from there"


def _look_at_held_out(trainer: Trainer, prepared: Prepared, log: MetricsLog) -> None:
    """Figures of the model as it would be exported now; the last epoch's are `_finish`'s."""
    config, epoch = prepared.config, trainer.epochs_done
    if not prepared.data.held_out or epoch % config.evaluation.every or epoch == config.train.epochs:
        return
    plan = ExportPlan(prepared.backbone, prepared.test_rule)
    with tempfile.TemporaryDirectory(prefix="crossmatch-") as folder:
        bundle = export_bundle(_final_embedder(trainer, prepared), plan, Path(folder) / BUNDLE_NAME)
        figures = validate(bundle, prepared.data)
    log.write("validation", epoch, protocols=figures)
    _print_figures(figures)


def _finish(trainer: Trainer, prepared: Prepared, output: Path) -> RunResult:
    """Export, measure the export, and write the figures into its manifest, which leaves the model id as it is."""
    plan = ExportPlan(prepared.backbone, prepared.test_rule, _describe_training(prepared))
    with tempfile.TemporaryDirectory(prefix="crossmatch-") as files:
        exporter = Exporter(_final_embedder(trainer, prepared), plan, Path(files))
        bundle = exporter.seal(output / BUNDLE_NAME)
        figures = validate(bundle, prepared.data)
        if figures:
            classes = list(prepared.data.held_out_classes)
            bundle = exporter.seal(output / BUNDLE_NAME, {"held_out_classes": classes, "held_out": figures})
            with MetricsLog(output / METRICS_NAME, trainer.epochs_done) as log:
                log.write("validation", trainer.epochs_done, protocols=figures)
            _print_figures(figures)
    return RunResult(bundle, trainer.epochs_done, figures)


def _final_embedder(trainer: Trainer, prepared: Prepared) -> Embedder:
    """A copy of the encoder as it is exported, with its share of the weights that training started from."""
    embedder = copy.deepcopy(trainer.embedder)
    if prepared.start:
        share = prepared.config.model.pretrained_share
        state = interpolate_weights(embedder.backbone.state_dict(), prepared.start, share)
        embedder.backbone.load_state_dict(state)
    return embedder.eval()


def _describe_training(prepared: Prepared) -> TrainingData:
    identity = prepared.identity
    return TrainingData(
        name=prepared.data.name,
        digest=identity.digest,
        pictures=len(prepared.data.pictures),
        classes=identity.classes,
        seed=prepared.config.train.seed,
        config=identity.as_dict()["config"],
        versions=installed_versions(*_TOOLS),
    )


def _print_figures(figures: Figures) -> None:
    for name, fields in figures.items():
        recall = fields["recall"]["1"]
        print_note(f"held-out classes, {name}: R@1 {recall:.3f}, MAP@R {fields['map_at_r']:.3f}")
