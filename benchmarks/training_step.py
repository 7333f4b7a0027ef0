"""Our training step beside the same model on synthetic tensors, and beside a plain loop with torch's defaults.

    python -m benchmarks.training_step --root ../shared/data/grocery [--config configs/grocery.yaml] [--size 224]
        [--batch 64] [--steps 8] [--rounds 5] [--small]

Ours and the synthetic one take turns in one process, with channels-last weights and the allocator's settings, as
`crossmatch train` runs: `ours` is fed by the loader from cached pictures, `synthetic` takes one batch again and again.
Each turn begins with steps that are not timed, so that the loader's lead is the same at both ends of what is timed. The
plain loop has a process of its own in each round: default layout, default allocator, the same backbone, loss, optimiser
and augmentation, pictures decoded in the loop by a DataLoader without workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, repeat
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.machine import describe_machine, print_table
from training.allocator import KEEP_MEMORY
from training.batches import Batch
from training.config import Config
from training.config_reading import read_config
from training.data import TrainingSet, read_training_set
from training.loop import Trainer
from training.run import prepare_run
from training.step import Stepper

_UNTIMED = 3  # steps at the start of a turn
_SMALL = ("--size", "64", "--batch", "8", "--steps", "2", "--rounds", "1")


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    config: Config
    steps: int  # timed in a turn
    rounds: int


def measure(step: Callable[[], object], plan: Plan) -> float:
    """Images per second of a turn."""
    for _ in range(_UNTIMED):
        step()
    started = time.perf_counter()
    for _ in range(plan.steps):
        step()
    return plan.steps * plan.config.train.batch_size / (time.perf_counter() - started)


def measure_ours(plan: Plan) -> dict[str, list[float]]:
    """Turns of the loop as it is, and of its step on one batch."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = prepare_run(plan.config, read_training_set(plan.config.data), Path(folder))
    trainer.model.train()
    rate = plan.config.optimiser.learning_rate / 100
    found: dict[str, list[float]] = {"ours": [], "synthetic": []}
    for number in range(plan.rounds):
        batches = draw_batches(trainer, number)
        one = next(batches)
        found["ours"].append(measure(partial(_step, trainer.stepper, batches, rate), plan))
        batches.close()
        found["synthetic"].append(measure(partial(_step, trainer.stepper, repeat(one), rate), plan))
    return found


def _step(stepper: Stepper, batches: Iterator[Batch], rate: float) -> None:
    stepper.take([next(batches)], rate)


def draw_batches(trainer: Trainer, start: int) -> Generator[Batch, None, None]:
    """Epoch after epoch."""
    for epoch in count(1000 * start):
        yield from trainer.loader.epoch(epoch)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Files, decoded when asked for."""

    def __init__(self, data: TrainingSet, config: Config, rule: v2.Compose) -> None:
        self._files = [(picture.path, label) for picture, label in zip(data.pictures, data.labels, strict=True)]
        self._rule = rule

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        path, label = self._files[number]
        with Image.open(path) as image:
            return self._rule(image.convert("RGB")), label


def measure_plain(plan: Plan) -> dict[str, list[float]]:
    """Turns of a loop as a tutorial has it."""
    config, data = plan.config, read_training_set(plan.config.data)
    with tempfile.TemporaryDirectory() as folder:  # the same model, put back into the default layout
        trainer, prepared = prepare_run(replace_cache(config), data, Path(folder))
    model = trainer.model.to(memory_format=torch.contiguous_format).train()
    own, rule = config.augmentation, prepared.test_rule
    augment = v2.Compose(
        [
            v2.Resize(own.resize or own.input_size * 256 // 224),
            v2.ColorJitter(*own.jitter),
            v2.RandomResizedCrop(own.input_size, own.crop_area, own.crop_aspect),
            v2.RandomHorizontalFlip(own.flip),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(rule.mean, rule.std),
        ]
    )
    loader = DataLoader(Pictures(data, config, augment), config.train.batch_size, shuffle=True, drop_last=True)
    optimiser = trainer.stepper.optimiser
    batches = (batch for _ in count() for batch in loader)

    def step() -> None:
        pictures, labels = next(batches)
        optimiser.zero_grad()
        model(pictures, labels).loss.backward()
        optimiser.step()

    return {"plain": [measure(step, plan) for _ in range(plan.rounds)]}


def replace_cache(config: Config) -> Config:
    """Nothing stays decoded."""
    return replace(config, data=replace(config.data, cache_gib=0.0))


def run_child(mode: str, arguments: list[str], environment: dict[str, str]) -> dict[str, list[float]]:
    """One of the measurements in a process of its own: the allocator's settings count from its start."""
    command = [sys.executable, "-m", "benchmarks.training_step", *arguments, "--child", mode]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(arguments: list[str], rounds: int) -> None:
    """Run both processes a round at a time, and print."""
    print(describe_machine("torch", "torchvision", "timm", "pillow"), flush=True)
    plain = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}
    found: dict[str, list[float]] = {"ours": [], "synthetic": [], "plain": []}
    for number in range(rounds):
        for mode, environment in (("ours", {**plain, **KEEP_MEMORY}), ("plain", plain)):
            for name, values in run_child(mode, [*arguments, "--rounds", "1"], environment).items():
                found[name] += values
        print(f"round {number + 1} of {rounds}: { ({name: values[-1] for name, values in found.items()}) }", flush=True)
    ours = statistics.median(found["ours"])
    rows: list[tuple[object, ...]] = []
    for name, values in found.items():
        middle = statistics.median(values)
        rows.append((name, f"{middle:.1f}", f"{min(values):.1f} to {max(values):.1f}", f"{ours / middle:.3f}"))
    print_table(("loop", "images/s, median", "range", "ours over it"), rows)
    ratios = [one / other for one, other in zip(found["ours"], found["synthetic"], strict=True)]
    print(f"ours over synthetic, round by round: median {statistics.median(ratios):.3f} (wanted: at least 0.95)")
    print(f"ours over plain: {ours / statistics.median(found['plain']):.2f} (wanted: at least 3)")


def main() -> None:
    """Measure and print; a child prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/grocery.yaml"))
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="timed in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help=f"as {' '.join(_SMALL)}: to see that it works")
    parser.add_argument("--child", choices=("ours", "plain"), help=argparse.SUPPRESS)
    words = [*sys.argv[1:], *(_SMALL if "--small" in sys.argv else ())]
    arguments = parser.parse_args(words)
    size, resize = arguments.size, arguments.size * 256 // 224
    overrides = [
        f"data.root={arguments.root}",
        f"augmentation.input_size={size}",
        f"augmentation.resize={resize}",
        f"train.batch_size={arguments.batch}",
    ]
    if arguments.child:
        plan = Plan(read_config(arguments.config, overrides), arguments.steps, arguments.rounds)
        print(json.dumps((measure_ours if arguments.child == "ours" else measure_plain)(plan)))
        return
    compare(
        [
            *("--root", str(arguments.root), "--config", str(arguments.config), "--size", str(size)),
            *("--batch", str(arguments.batch), "--steps", str(arguments.steps)),
        ],
        arguments.rounds,
    )


if __name__ == "__main__":
    main()
