"""The training loop: an epoch of steps, its figures logged, its state handed out for checkpoints.

What may change here: what is logged. What may not: the state after a step is a function of the configuration and the
data, so that a resumed run ends where an uninterrupted one does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch

from index.errors import CrossmatchError, UsageError
from index.preprocess import Preprocessing
from index.terminal import print_note, progress_bar
from training.batches import Batch, BatchLoader
from training.checkpoint import Checkpoint, random_states, restore_random_states
from training.config import Config
from training.metrics_log import Log
from training.model import Embedder, Learner
from training.parallel import Processes
from training.schedule import learning_rate_factor, scale_warmup
from training.step import NotFiniteError, StepFigures, Stepper

Save = Callable[[Checkpoint], None]


class Trainer:
    """A model, its optimiser, and how many epochs and steps they have behind them."""

    def __init__(
        self,
        config: Config,
        model: Learner,
        loader: BatchLoader,
        rule: Preprocessing,
        checkpoint: Path,
        processes: Processes | None = None,
    ) -> None:
        """`rule` has the mean and deviation; `checkpoint` is where the caller saves, named in errors alone."""
        self.model = model
        self.epochs_done = 0
        self._config = config
        self.loader = loader
        self._checkpoint = checkpoint
        self.saved: str | None = None  # what the last good checkpoint is
        self._processes = processes or Processes()
        self.device = choose_device(config.train.device)
        # Channels last: 2 to 3 times faster on a CPU (docs/training.md), and what GPUs want as well.
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.stepper = Stepper(config, model, rule, self._processes)
        self._iterations = config.train.epochs * loader.steps
        self._warmup = scale_warmup(config.schedule, self._iterations)
        self._figures: list[StepFigures] = []  # of the epoch that is being run
        self._seconds = 0.0  # spent on it before

    @property
    def embedder(self) -> Embedder:
        """The encoder as it is exported: the moving average where there is one."""
        return self.stepper.average.encoder if self.stepper.average else self.model.embedder

    @property
    def steps_done(self) -> int:
        """Steps of the whole run."""
        return self.epochs_done * self.loader.steps + len(self._figures)

    def run_epoch(self, log: Log, save: Save | None = None) -> None:
        """One pass over the pictures, or what is left of it; `save` is called within it as the configuration says.

        Raises CrossmatchError at a loss that is not finite.
        """
        self.model.train()
        title = f"Epoch {self.epochs_done + 1} of {self._config.train.epochs}"
        started, every = time.perf_counter() - self._seconds, self._config.train.checkpoint_every
        with self._progress(title) as on_progress, closing(self._batches()) as batches:
            while chunk := list(islice(batches, self._config.train.accumulate)):
                self._figures.append(self._step(chunk))
                log.write("step", self.epochs_done + 1, step=self.steps_done, **vars(self._figures[-1]))
                on_progress(len(self._figures), self.loader.steps)
                self._seconds = time.perf_counter() - started
                if save and every and self.steps_done % every == 0 and len(self._figures) < self.loader.steps:
                    save(self.state())
        figures = _summarise(self._figures, self._seconds, self.loader.pictures_a_step)
        log.write("epoch", self.epochs_done + 1, **figures)
        self._say(f"{title}: loss {figures['loss']:.4f}, {figures['images_per_second']:.1f} images/s")
        self.epochs_done += 1
        self._figures, self._seconds = [], 0.0

    def _batches(self) -> Generator[Batch, None, None]:
        done = len(self._figures) * self._config.train.accumulate
        return self.loader.epoch(self.epochs_done, skip=done, share=self._processes.share)

    def _step(self, batches: list[Batch]) -> StepFigures:
        factor = learning_rate_factor(self.steps_done, self._iterations, self._warmup)
        try:
            return self.stepper.take(batches, self._config.optimiser.learning_rate * factor)
        except NotFiniteError as error:
            raise self._not_finite(error) from error

    def _progress(self, title: str) -> AbstractContextManager[Callable[[int, int], None]]:
        return progress_bar(title) if self._processes.is_first else nullcontext(lambda _done, _total: None)

    def _say(self, text: str) -> None:
        if self._processes.is_first:
            print_note(text)

    def _not_finite(self, loss: NotFiniteError) -> CrossmatchError:
        return CrossmatchError(
            f"the loss is not finite at step {self.steps_done + 1}",
            where=f"epoch {self.epochs_done + 1}",
            found=f"{loss}; the last good checkpoint is {self.saved or 'none yet'}",
            remedy="lower optimiser.learning_rate, lengthen schedule.warmup, or set optimiser.clip_norm",
        )

    def state(self) -> Checkpoint:
        """What a resumed run needs, to be saved now."""
        figures = [asdict(step) for step in self._figures]
        self.saved = f"{self._checkpoint}, after step {self.steps_done}"
        return Checkpoint(self.epochs_done, figures, self._seconds, random_states(), **self.stepper.state())

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a state of the same run."""
        self.stepper.load(vars(checkpoint))
        restore_random_states(checkpoint.random)
        self.epochs_done, self._seconds = checkpoint.epoch, checkpoint.seconds
        self._figures = [StepFigures(**values) for values in checkpoint.steps]
        self.saved = f"{self._checkpoint}, after step {self.steps_done}"


def choose_device(name: str) -> torch.device:
    """The device that `train.device` asks for. Raises UsageError for a GPU that is not there."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise UsageError("no GPU that torch can use", where="train.device", found=name, remedy="say train.device=cpu")
    if not has_gpu or name == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # torchrun's: a GPU a process


def _summarise(steps: list[StepFigures], seconds: float, pictures: int) -> dict[str, float | None]:
    """The means of an epoch's steps, and its speed."""
    return {
        "loss": fmean(step.loss for step in steps),
        "tightness": _mean([step.tightness for step in steps]),
        "contrast": _mean([step.contrast for step in steps]),
        "seconds": seconds,
        "images_per_second": len(steps) * pictures / seconds,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
