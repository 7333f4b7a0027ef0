"""The learning rate of every iteration: a linear warm-up under half a cosine, as in the paper's reference code."""

from __future__ import annotations

import math

from training.config import ScheduleConfig


def scale_warmup(config: ScheduleConfig, iterations: int) -> int:
    """Iterations of warm-up: the configured ones, but at most their share of a short run."""
    return max(1, min(config.warmup, int(config.warmup_share * iterations)))


def learning_rate_factor(iteration: int, iterations: int, warmup: int) -> float:
    """min((i + 1) / warmup, (1 + cos(pi i / T)) / 2) for iteration i of T, both counted from 0."""
    return min((iteration + 1) / warmup, (1 + math.cos(math.pi * iteration / iterations)) / 2)
