"""The training loop: an epoch of steps, its figures logged, its state handed out for a checkpoint.

What may change here: how a step is computed (precision, accumulation). What may not: the state after an epoch is a
function of the configuration and the data, so that a resumed run ends where an uninterrupted one does.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from index.errors import CrossmatchError, UsageError
from index.preprocess import Preprocessing
from index.terminal import print_note, progress_bar
from training.batches import Batch, BatchLoader
from training.checkpoint import Checkpoint, random_states, restore_random_states
from training.config import Config
from training.ema import MovingAverage
from training.losses.parts import LossParts
from training.metrics_log import MetricsLog
from training.model import Embedder, Learner
from training.optimiser import build_optimiser, set_learning_rate
from training.schedule import learning_rate_factor, scale_warmup


@dataclass(frozen=True)
class StepFigures:
    """What one step measured."""

    loss: float
    tightness: float | None  # None for a loss that has no such parts
    contrast: float | None
    learning_rate: float


class Trainer:
    """A model, its optimiser and how many epochs they have behind them."""

    def __init__(
        self, config: Config, model: Learner, loader: BatchLoader, rule: Preprocessing, checkpoint: Path
    ) -> None:
        """`rule` has the mean and deviation; `checkpoint` is where the caller saves, named in errors alone."""
        self.model = model
        self.epochs_done = 0
        self._config = config
        self._loader = loader
        self._checkpoint = checkpoint
        self.device = choose_device(config.train.device)
        # Channels last: 2 to 3 times faster on a CPU (docs/training.md), and what GPUs want as well.
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = build_optimiser(model.embedder, model.criterion, config.optimiser)
        self._average = MovingAverage(model.embedder, config.train.ema) if config.train.ema else None
        self._iterations = config.train.epochs * len(loader)
        self._warmup = scale_warmup(config.schedule, self._iterations)
        self._scale, self._shift = (_channels(values, self.device) for values in _normalisation(rule))

    def run_epoch(self, log: MetricsLog) -> None:
        """One pass over the pictures. Raises CrossmatchError at a loss that is not finite."""
        epoch = self.epochs_done
        self.model.train()
        title = f"Epoch {epoch + 1} of {self._config.train.epochs}"
        started, steps = time.perf_counter(), []
        with progress_bar(title) as on_progress, closing(self._loader.epoch(epoch)) as batches:
            for number, batch in enumerate(batches):
                iteration = epoch * len(self._loader) + number
                steps.append(self._step(batch, iteration))
                log.write("step", epoch + 1, step=iteration + 1, **vars(steps[-1]))
                on_progress(number + 1, len(self._loader))
        seconds = time.perf_counter() - started
        figures = _summarise(steps, seconds, self._config.train.batch_size)
        log.write("epoch", epoch + 1, **figures)
        print_note(f"{title}: loss {figures['loss']:.4f}, {figures['images_per_second']:.1f} images/s")
        self.epochs_done += 1

    def _step(self, batch: Batch, iteration: int) -> StepFigures:
        rate = self._config.optimiser.learning_rate * learning_rate_factor(iteration, self._iterations, self._warmup)
        set_learning_rate(self._optimiser, rate)
        labels = torch.from_numpy(batch.labels).to(self.device)
        bfloat16 = self._config.train.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            parts: LossParts = self.model(self.prepare(batch), labels)
        if not math.isfinite(parts.loss.item()):
            raise self._not_finite(iteration, parts.loss.item())
        self._optimiser.zero_grad(set_to_none=True)
        parts.loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        if self._average:
            self._average.update(self.model.embedder)
        return StepFigures(parts.loss.item(), _item(parts.tightness), _item(parts.contrast), rate)

    @property
    def embedder(self) -> Embedder:
        """The encoder as it is exported: the moving average where there is one."""
        return self._average.encoder if self._average else self.model.embedder

    def prepare(self, batch: Batch) -> Tensor:
        """(n, 3, s, s) float32, normalised, from a batch's (n, s, s, 3) uint8: in memory it stays channels last."""
        pixels = torch.from_numpy(batch.pixels).to(self.device).permute(0, 3, 1, 2)
        return pixels.float().mul_(self._scale).sub_(self._shift)

    def _not_finite(self, iteration: int, loss: float) -> CrossmatchError:
        saved = f"after epoch {self.epochs_done}: {self._checkpoint}" if self.epochs_done else "none yet"
        return CrossmatchError(
            f"the loss is not finite at step {iteration + 1}",
            where=f"epoch {self.epochs_done + 1}",
            found=f"{loss}; the last good checkpoint is {saved}",
            remedy="lower optimiser.learning_rate, or lengthen schedule.warmup",
        )

    def state(self) -> Checkpoint:
        """What a resumed run needs."""
        average = self._average.encoder.state_dict() if self._average else None
        return Checkpoint(
            self.epochs_done, self.model.state_dict(), self._optimiser.state_dict(), random_states(), average
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a state of the same run."""
        self.model.load_state_dict(checkpoint.model)
        self._optimiser.load_state_dict(checkpoint.optimiser)
        if self._average and checkpoint.average is not None:
            self._average.encoder.load_state_dict(checkpoint.average)
        restore_random_states(checkpoint.random)
        self.epochs_done = checkpoint.epoch


def choose_device(name: str) -> torch.device:
    """The device that `train.device` asks for. Raises UsageError for a GPU that is not there."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise UsageError("no GPU that torch can use", where="train.device", found=name, remedy="say train.device=cpu")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")


def _normalisation(rule: Preprocessing) -> tuple[list[float], list[float]]:
    """Scale and shift per channel: (x / 255 - mean) / std = x * scale - shift, as `index.preprocess.normalise`."""
    return [1 / (255 * std) for std in rule.std], [m / s for m, s in zip(rule.mean, rule.std, strict=True)]


def _channels(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]  # (3, 1, 1)


def _summarise(steps: list[StepFigures], seconds: float, batch_size: int) -> dict[str, float | None]:
    """The means of an epoch's steps, and its speed."""
    return {
        "loss": fmean(step.loss for step in steps),
        "tightness": _mean([step.tightness for step in steps]),
        "contrast": _mean([step.contrast for step in steps]),
        "seconds": seconds,
        "images_per_second": len(steps) * batch_size / seconds,
    }


def _item(part: Tensor | None) -> float | None:
    return None if part is None else part.item()


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
