"""One optimisation step: pictures to features, features gathered, the loss, gradients, new weights.

What may change here: how a step is computed (precision, accumulation, processes). What may not: a step whose loss is
not finite changes no weight, and a step is a function of the weights, the random state and the batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from index.preprocess import Preprocessing
from training.batches import Batch
from training.config import Config
from training.ema import MovingAverage
from training.folding import Pair, find_pairs, folded
from training.losses.parts import LossParts
from training.model import Learner
from training.optimiser import build_optimiser, set_learning_rate
from training.parallel import Processes, average_gradients, gather_features, gather_labels, wrap_features

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class StepFigures:
    """What one step measured; the parts are None for a loss that has none."""

    loss: float
    tightness: float | None
    contrast: float | None
    learning_rate: float


class NotFiniteError(ArithmeticError):
    """The loss is infinite or no number."""


class Stepper:
    """A model on its device, and what changes its weights."""

    def __init__(self, config: Config, model: Learner, rule: Preprocessing, processes: Processes) -> None:
        """`rule` has the mean and deviation. The model is on its device already."""
        self.model = model
        self.optimiser = build_optimiser(model.embedder, model.criterion, config.optimiser)
        self.average = MovingAverage(model.embedder, config.train.ema) if config.train.ema else None
        self.device = next(model.parameters()).device
        self._precision = _PRECISIONS[config.train.precision]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self._precision is torch.float16)
        self._clip_norm = config.optimiser.clip_norm
        self._processes = processes
        self._features = wrap_features(model.embedder, processes)
        self._pairs = _find_pairs(model, config) if config.model.freeze_batch_norm else ()
        self._scale, self._shift = (_channels(values, self.device) for values in _normalisation(rule))

    def take(self, batches: Sequence[Batch], rate: float) -> StepFigures:
        """One step over the batches of this process. Raises NotFiniteError before any weight changes."""
        set_learning_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        losses = []
        for number, batch in enumerate(batches):
            with self._without_sync(last=number + 1 == len(batches)), folded(self._pairs):
                parts = self._loss(batch)
                losses.append([_item(part) for part in parts])
                if not math.isfinite(losses[-1][0] or 0.0):
                    raise NotFiniteError(losses[-1][0])
                self.scaler.scale(parts.loss / len(batches)).backward()  # type: ignore[no-untyped-call]
        self._change_weights()
        loss, tightness, contrast = (_mean(column) for column in zip(*losses, strict=True))
        return StepFigures(loss or 0.0, tightness, contrast, rate)

    def _loss(self, batch: Batch) -> LossParts:
        """The loss of the whole batch, of which this process has its share."""
        labels = torch.from_numpy(batch.labels).to(self.device)
        with torch.autocast(self.device.type, dtype=self._precision, enabled=self._precision is not torch.float32):
            features = self._features(self.prepare(batch))
            return self.model.judge(gather_features(features, self._processes), gather_labels(labels, self._processes))

    def prepare(self, batch: Batch) -> Tensor:
        """(n, 3, s, s) float32, normalised, from a batch's (n, s, s, 3) uint8: in memory it stays channels last."""
        pixels = torch.from_numpy(batch.pixels).to(self.device).permute(0, 3, 1, 2)
        return pixels.float().mul_(self._scale).sub_(self._shift)

    def _without_sync(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients of all processes are joined once a step."""
        wrapped = isinstance(self._features, DistributedDataParallel) and not last
        return self._features.no_sync() if wrapped else nullcontext()  # type: ignore[operator]

    def _change_weights(self) -> None:
        average_gradients((self.model.embedder.feature_norm, self.model.criterion), self._processes)
        if self._clip_norm is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self._clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average:
            self.average.update(self.model.embedder)

    def state(self) -> dict[str, Any]:
        """Weights, optimiser, scaler and moving average."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.encoder.state_dict() if self.average else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.encoder.load_state_dict(state["average"])


def _find_pairs(model: Learner, config: Config) -> tuple[Pair, ...]:
    """What can be folded, found on two pictures of noise."""
    size, device = config.augmentation.input_size, next(model.parameters()).device
    pictures = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    mode = model.training
    model.eval()
    pairs = find_pairs(model.embedder.backbone, lambda: model.embedder.features(pictures))
    model.train(mode)
    return pairs


def _normalisation(rule: Preprocessing) -> tuple[list[float], list[float]]:
    """Scale and shift per channel: (x / 255 - mean) / std = x * scale - shift, as `index.preprocess.normalise`."""
    return [1 / (255 * std) for std in rule.std], [m / s for m, s in zip(rule.mean, rule.std, strict=True)]


def _channels(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]  # (3, 1, 1)


def _item(part: Tensor | None) -> float | None:
    return None if part is None else part.item()


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
