"""Exact evaluation at the size of SOP: beside the bare matrix product, and beside pytorch-metric-learning.

    python -m benchmarks.evaluation_speed [--rows 60502] [--size 2048] [--peer-rows 10000] [--rounds 3]
                                          [--clusterings 1]

Random clusters of five, as SOP's products have pictures; recall@1, 10, 100 and 1000, MAP@R and R-precision. The bare
product is float32, chunked as our search chunks it, its result thrown away. Memory is the highest resident set beyond
what was there before, features included. Needs Linux, and `pip install pytorch-metric-learning`.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from benchmarks.machine import describe_machine, print_table
from index.evaluation import Figures, LabelledVectors, evaluate, evaluate_clustering
from index.exact_search import DEFAULT_CHUNKS
from index.types import Vectors

KS = (1, 10, 100, 1000)
PER_CLASS = 5
SPREAD = 3.5  # of a vector around its centre, for 1 of the centre itself
BLOCK = 10_000
SAME = 1e-5  # by which figures may differ: two BLAS libraries round scores that nearly tie in their own ways


@dataclass(frozen=True)
class Cost:
    """What something took."""

    seconds: float
    mib: float  # beyond what was resident before


def measure(action: Callable[[], Any]) -> tuple[Any, Cost]:
    """An action's result, and its time and peak memory."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, so that it counts again if it is used again
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = _read_status("VmRSS")
    started = time.perf_counter()
    result = action()
    seconds = time.perf_counter() - started
    return result, Cost(seconds, (_read_status("VmHWM") - before) / 1024)


def _read_status(name: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def draw_labelled(rows: int, size: int) -> LabelledVectors:
    """Unit vectors around random centres, five a centre, so far from it that figures lie between 0 and 1."""
    random = np.random.default_rng(0)
    labels = np.arange(rows, dtype=np.int64) // PER_CLASS
    vectors = np.empty((rows, size), np.float32)
    for start in range(0, rows, BLOCK):
        stop = min(start + BLOCK, rows)
        centres = random.normal(size=(-(-(stop - start) // PER_CLASS), size)).astype(np.float32)
        block = centres.repeat(PER_CLASS, axis=0)[: stop - start]
        block += SPREAD * random.normal(size=block.shape).astype(np.float32)
        vectors[start:stop] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return LabelledVectors(vectors, labels, np.arange(rows, dtype=np.int64))


def multiply(vectors: Vectors) -> None:
    """Every inner product, chunked as `search_exact` does it, and nothing else."""
    chunks = DEFAULT_CHUNKS
    for start in range(0, len(vectors), chunks.queries):
        for first in range(0, len(vectors), chunks.gallery):
            vectors[start : start + chunks.queries] @ vectors[first : first + chunks.gallery].T


def compare_with_product(pictures: LabelledVectors, rounds: int) -> None:
    """The product and the evaluation in turns; the quickest of each, and the ratio of each round."""
    products, evaluations, ratios = [], [], []
    for _ in range(rounds):
        products.append(measure(lambda: multiply(pictures.vectors))[1])
        figures, cost = measure(lambda: evaluate(pictures, pictures, KS))
        evaluations.append(cost)
        ratios.append(cost.seconds / products[-1].seconds)
    print(f"\n{len(pictures.ids)} x {pictures.vectors.shape[1]} features, k to {max(KS)}, {rounds} rounds:\n")
    rows: list[tuple[object, ...]] = [
        (name, min(cost.seconds for cost in costs), max(cost.mib for cost in costs))
        for name, costs in (("bare matrix product", products), ("recall@k, MAP@R, R-precision", evaluations))
    ]
    print_table(("", "s", "MiB beyond the features"), rows)
    print(f"\nratio by round: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print_figures(figures)


def print_figures(figures: Figures) -> None:
    """So that a reader sees that something was measured."""
    recall = ", ".join(f"R@{k} {value:.6f}" for k, value in figures.recall.items())
    print(f"{recall}, MAP@R {figures.map_at_r:.6f}, R-precision {figures.r_precision:.6f}")


def compare_with_peer(pictures: LabelledVectors) -> None:
    """The same figures from pytorch-metric-learning, at a size that it can hold."""
    names = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
    calculator = AccuracyCalculator(include=names, k=max(KS), device=torch.device("cpu"))
    vectors, labels = torch.from_numpy(pictures.vectors), torch.from_numpy(pictures.labels)
    theirs, their_cost = measure(lambda: calculator.get_accuracy(vectors, labels))
    figures, our_cost = measure(lambda: evaluate(pictures, pictures, KS))
    ours = (figures.recall[1], figures.map_at_r, figures.r_precision)
    print(f"\n{len(pictures.ids)} x {pictures.vectors.shape[1]} features, beside AccuracyCalculator:\n")
    print_table(
        ("", "s", "MiB beyond the features", "P@1", "MAP@R", "R-precision"),
        [
            ("ours", our_cost.seconds, our_cost.mib, *ours),
            ("pytorch-metric-learning", their_cost.seconds, their_cost.mib, *(theirs[name] for name in names)),
        ],
    )
    times, memory = their_cost.seconds / our_cost.seconds, their_cost.mib / max(our_cost.mib, 1.0)
    print(f"\nit takes {times:.2f} times our time and {memory:.2f} times our memory")
    apart = max(abs(own - theirs[name]) for own, name in zip(ours, names, strict=True))
    print(f"largest difference of a figure: {apart:.1e} ({'equal' if apart <= SAME else 'NOT EQUAL'})")


def time_clustering(pictures: LabelledVectors, runs: int) -> None:
    """k-means with as many clusters as classes, and NMI and AMI: apart from the rest, since it takes far longer."""
    found, cost = measure(lambda: evaluate_clustering(pictures.vectors, pictures.labels, range(runs)))
    print(f"\nNMI and AMI, {len(pictures.ids)} rows, {found.clusters} clusters, {runs} runs of k-means:\n")
    print_table(("NMI", "AMI", "s", "MiB"), [(found.nmi, found.ami, cost.seconds, cost.mib)])


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_502)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--peer-rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clusterings", type=int, default=1, help="0: none")
    options = parser.parse_args()
    print(describe_machine("numpy", "faiss-cpu", "torch", "pytorch-metric-learning"))
    compare_with_peer(draw_labelled(options.peer_rows, options.size))
    pictures = draw_labelled(options.rows, options.size)
    compare_with_product(pictures, options.rounds)
    if options.clusterings:
        time_clustering(pictures, options.clusterings)


if __name__ == "__main__":
    main()
