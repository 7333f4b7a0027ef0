"""Random batches for the tests of losses: features in float64, and labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch.nn import functional


class Drawn(NamedTuple):
    features: torch.Tensor  # (n, d) float64
    labels: torch.Tensor  # (n,) int64, each of the classes at least once
    classes: int


def draw_batch(seed: int, classes: int = 4, per_class: int = 3, size: int = 5, scale: float = 1.0) -> Drawn:
    """Balanced, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(per_class)[torch.randperm(classes * per_class, generator=generator)]
    features = scale * torch.randn(len(labels), size, generator=generator, dtype=torch.float64)
    return Drawn(features, labels, classes)


def on_the_sphere(batch: Drawn) -> Drawn:
    return batch._replace(features=functional.normalize(batch.features, dim=1))


batches = st.builds(
    draw_batch,
    seed=st.integers(0, 2**31),
    classes=st.integers(2, 6),
    per_class=st.integers(2, 5),
    size=st.integers(1, 9),
    scale=st.floats(0.05, 4.0),
)


@st.composite
def uneven_batches(draw: st.DrawFn) -> Drawn:
    """Classes of different sizes, some with one picture."""
    batch = draw(batches)
    labels = torch.tensor([draw(st.integers(0, batch.classes - 1)) for _ in batch.labels])
    labels[: batch.classes] = torch.arange(batch.classes)
    return batch._replace(labels=labels)
