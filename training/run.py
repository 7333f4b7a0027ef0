"""A training run from a configuration to an evaluated bundle: what is in the folder RUN, and in which order it comes.

Read data -> build the model -> epochs, each with a checkpoint and a look at the held-out classes -> the same without
each fold of classes, where folds are asked for -> `training.finishing`. Given again, the same command goes on after the
last checkpoint. Under `torchrun` the first process alone writes, exports and evaluates.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from index.errors import UsageError
from index.manifest import TrainingData
from index.model_export import installed_versions
from index.preprocess import Preprocessing
from index.terminal import print_note, progress_bar
from training.backbones import Backbone, build_backbone
from training.batches import BatchLoader
from training.calibration import BestMatches, join_matches
from training.checkpoint import CHECKPOINT_NAME, Checkpoint, RunIdentity, read_checkpoint, save_checkpoint
from training.config import Config
from training.data import TrainingSet, data_digest, read_training_set
from training.examination import examine
from training.export import ExportPlan, export_bundle
from training.finishing import BUNDLE_NAME, RunResult, Trained, finish, print_figures
from training.folds import split_classes
from training.loop import Trainer, choose_device
from training.losses.registry import Shape, build_criterion
from training.metrics_log import METRICS_NAME, Log, MetricsLog, SilentLog
from training.model import Embedder, Learner, build_embedder, interpolate_weights
from training.parallel import Processes, check_parallel, join_processes
from training.picture_cache import PictureCache
from training.report import REPORT_NAME
from training.sampler import check_sampler, share_alone
from training.tensorboard import TENSORBOARD_NAME, Scalars
from training.validation import check_test, held_out_protocols, validate

_DRAFTS = {Path(name).with_suffix(".tmp").name for name in (CHECKPOINT_NAME, REPORT_NAME, METRICS_NAME)}
_OWN = frozenset({BUNDLE_NAME, METRICS_NAME, CHECKPOINT_NAME, REPORT_NAME, TENSORBOARD_NAME, *_DRAFTS})
_TOOLS = ("crossmatch", "torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class Prepared:
    """All that the epochs and the export need."""

    config: Config
    data: TrainingSet
    backbone: Backbone
    test_rule: Preprocessing
    start: dict[str, Tensor]  # the backbone's weights before training; empty if they have no share
    identity: RunIdentity
    processes: Processes


def train_bundle(config: Config, output: Path) -> RunResult | None:
    """Train as `config` says; RUN/bundle, RUN/metrics.jsonl and RUN/checkpoint.pt are in the folder `output` then.

    None in the processes of `torchrun` that are not the first.

    Raises UsageError for what does not fit, ImageError for a broken picture, and CrossmatchError at a loss that is
    not finite. KeyboardInterrupt leaves the last checkpoint.
    """
    _check_output(output)
    check_test(config)
    with join_processes(choose_device(config.train.device)) as processes:
        check_parallel(processes, config.train.batch_size, config.model.freeze_batch_norm)
        data = read_training_set(config.data)
        folds = () if data.held_out or not config.calibration.folds else tuple(split_classes(data, config))
        trained = _train(config, data, output, processes)
        matches = _score_folds(config, folds, output, processes)
        return finish(trained, matches, output) if processes.is_first else None


def _score_folds(
    config: Config, folds: Sequence[TrainingSet], output: Path, processes: Processes
) -> BestMatches | None:
    """Train once for each fold without its classes, and let them ask that model; None where there are no folds."""
    quiet = replace(config, evaluation=replace(config.evaluation, every=config.train.epochs))
    matches = []
    for number, fold in enumerate(folds, start=1):
        if processes.is_first:
            print_note(f"fold {number} of {len(folds)}: without {len(fold.held_out_classes)} classes")
        trained = _train(quiet, fold, output / f"fold-{number}", processes)
        if not processes.is_first:
            continue
        with tempfile.TemporaryDirectory(prefix="crossmatch-") as folder:
            bundle = export_bundle(trained.embedder, trained.plan, Path(folder) / BUNDLE_NAME)
            [found] = examine(bundle, fold.name, "held_out", held_out_protocols(fold)[:1])
        matches.append(found.best_matches())
    return join_matches(matches) if matches else None


def _train(config: Config, data: TrainingSet, output: Path, processes: Processes) -> Trained:
    """All epochs, from the checkpoint in `output` where there is one."""
    trainer, prepared = prepare_run(config, data, output, processes)
    output.mkdir(parents=True, exist_ok=True)
    _run_epochs(trainer, prepared, output)
    plan = ExportPlan(prepared.backbone, prepared.test_rule, _describe_training(prepared))
    return Trained(config, data, _final_embedder(trainer, prepared), plan, trainer.epochs_done)


def prepare_run(
    config: Config, data: TrainingSet, output: Path, processes: Processes | None = None
) -> tuple[Trainer, Prepared]:
    """Read the pictures and build the model; nothing is written. Raises as `train_bundle`."""
    processes = processes or Processes()
    check_sampler(data.labels, data.classes, config.train)
    torch.manual_seed(config.train.seed)
    backbone = build_backbone(config.model.backbone, config.model.weights)
    train_rule, test_rule = _choose_rules(config, backbone)
    cache = PictureCache([picture.path for picture in data.pictures], train_rule, config.data.cache_gib)
    loader = BatchLoader(cache, data.labels, config.augmentation, config.train)
    embedder = build_embedder(backbone, config.model)
    shape = Shape(embedder.size, len(data.classes), config.model.dropout)
    model = Learner(embedder, build_criterion(config.loss, shape))
    if processes.is_first and model.criterion.compares_pairs and not list(model.criterion.parameters()):
        _warn_of_lonely_pictures(data, config)
    start = copy.deepcopy(backbone.network.state_dict()) if config.model.pretrained_share else {}
    with progress_bar("Reading pictures") as on_progress:
        cache.fill(on_progress if processes.is_first else None)
    identity = RunIdentity(config, data.classes, data_digest(data.pictures, cache.digests))
    prepared = Prepared(config, data, backbone, test_rule, start, identity, processes)
    return Trainer(config, model, loader, train_rule, output / CHECKPOINT_NAME, processes), prepared


def _warn_of_lonely_pictures(data: TrainingSet, config: Config) -> None:
    alone = share_alone(data.labels, config.train)
    if alone > 0.5:
        print_note(
            f"{alone:.0%} of the pictures are alone of their class in their batch, and {config.loss.name} compares "
            "pairs: say train.sampler=m_per_class, or make the batch larger"
        )


def _check_output(output: Path) -> None:
    """Refuse a folder with anything in it that is not a run's."""
    strange = output if output.is_file() else None
    if output.is_dir():
        strange = next((path for path in sorted(output.iterdir()) if not _is_own(path.name)), None)
    if strange:
        raise UsageError(
            "the output is in the way",
            where=strange,
            expected="a new folder, or a run to go on with",
            remedy="choose another --output",
        )


def _is_own(name: str) -> bool:
    return name in _OWN or re.fullmatch(r"fold-\d+", name) is not None


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
    path, epochs = output / CHECKPOINT_NAME, prepared.config.train.epochs
    is_first = prepared.processes.is_first
    checkpoint = read_checkpoint(path, prepared.identity)
    if checkpoint:
        trainer.resume(checkpoint)
        if is_first:
            print_note(f"going on from {trainer.saved} (epoch {checkpoint.epoch} of {epochs} is whole)")

    def save(state: Checkpoint) -> None:
        if is_first:
            save_checkpoint(path, prepared.identity, state)

    with _open_log(trainer, prepared, output) as log:
        while trainer.epochs_done < epochs:
            try:
                trainer.run_epoch(log, save)
            except KeyboardInterrupt:
                if is_first:
                    print_note(_what_is_saved(trainer.saved))
                raise
            if is_first:
                _look_at_held_out(trainer, prepared, log)
            save(trainer.state())


@contextmanager
def _open_log(trainer: Trainer, prepared: Prepared, output: Path) -> Iterator[Log]:
    if not prepared.processes.is_first:
        yield SilentLog()
        return
    wanted = prepared.config.train.tensorboard
    scalars = Scalars(output / TENSORBOARD_NAME, trainer.steps_done) if wanted else None
    with MetricsLog(output / METRICS_NAME, trainer.epochs_done, trainer.steps_done, scalars) as log:
        yield log


def _what_is_saved(saved: str | None) -> str:
    if saved is None:
        return "interrupted before the first checkpoint: nothing is saved yet"
    return f"saved: {saved}; the same command goes on from there"


def _look_at_held_out(trainer: Trainer, prepared: Prepared, log: Log) -> None:
    """Figures of the model as it would be exported now; the last epoch's are `finish`'s."""
    config, epoch = prepared.config, trainer.epochs_done
    if not prepared.data.held_out or epoch % config.evaluation.every or epoch == config.train.epochs:
        return
    plan = ExportPlan(prepared.backbone, prepared.test_rule)
    with tempfile.TemporaryDirectory(prefix="crossmatch-") as folder:
        bundle = export_bundle(_final_embedder(trainer, prepared), plan, Path(folder) / BUNDLE_NAME)
        figures = validate(bundle, prepared.data)
    log.write("validation", epoch, protocols=figures)
    print_figures("held-out classes", figures)


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
