"""Three seeds of a training configuration on Grocery, each trained, exported and evaluated, beside the untrained model.

    python -m benchmarks.trained --root ../shared/data/grocery [--config configs/grocery.yaml] [--seeds 3] [--keep DIR]

The trainings run one after the other through `crossmatch train`; wall and CPU time are the whole process's, from its
start to the exported and evaluated bundle. The odd classes are touched once, here, after every choice is made.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine, print_table
from index.assessment import assess
from index.bundle import Bundle, read_bundle
from index.datasets import read_protocol
from index.model_export import export_pretrained

PROTOCOLS = ("shelf", "catalogue", "self")


@dataclass(frozen=True)
class Cost:
    """What a training took."""

    wall: float  # seconds
    cpu: float  # seconds, of all its threads


def train(config: Path, root: Path, seed: int, output: Path) -> Cost:
    """`crossmatch train`, as a user runs it."""
    command = [sys.executable, "-m", "crossmatch", "train", str(config), f"data.root={root}", f"train.seed={seed}"]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--output", str(output)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - started, cpu)


def measure(bundle: Bundle, root: Path) -> list[float]:
    """R@1 and MAP@R by each protocol."""
    found = [assess(bundle, "grocery", read_protocol("grocery", root, name)).figures for name in PROTOCOLS]
    return [value for figures in found for value in (figures.recall[1], figures.map_at_r)]


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/grocery.yaml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="where the runs stay; a finished one is not trained again")
    arguments = parser.parse_args()
    print(describe_machine("torch", "timm", "onnxruntime"), flush=True)
    header = (
        "model",
        *(f"{name} {figure}" for name in PROTOCOLS for figure in ("R@1", "MAP@R")),
        "minutes",
        "CPU minutes",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        untrained = measure(export_pretrained("efficientnet_lite0", Path(name) / "untrained"), arguments.root)
        rows: list[tuple[object, ...]] = [("untrained", *untrained, "-", "-")]
        seeds = []
        for seed in range(arguments.seeds):
            cost = train(arguments.config, arguments.root, seed, folder / f"seed-{seed}")
            seeds.append(measure(read_bundle(folder / f"seed-{seed}" / "bundle"), arguments.root))
            rows.append((f"seed {seed}", *seeds[-1], f"{cost.wall / 60:.1f}", f"{cost.cpu / 60:.1f}"))
            print_table(header, rows[-1:])
    columns = list(zip(*seeds, strict=True))
    rows.append(("mean", *(statistics.mean(column) for column in columns), "", ""))
    rows.append(("standard deviation", *(statistics.stdev(column) for column in columns), "", ""))
    print_table(header, rows)


if __name__ == "__main__":
    main()
