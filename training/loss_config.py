"""The section `loss` of a configuration: which loss, and the parameters that this loss takes.

What may change here: more losses, more parameters. What may not: a parameter that the chosen loss does not take is an
error, never ignored. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
LossName = Literal[
    "cross_entropy",
    "normalised_softmax",
    "cosface",
    "arcface",
    "center",
    "contrastive",
    "snca",
    "multi_similarity",
    "pce",
    "spce",
    "peer",
]

# What each loss takes, with its default; None: it has none.
LOSSES: Mapping[str, Mapping[str, Any]] = {
    "cross_entropy": {"smoothing": 0.1, "smoothing_over": "wrong"},
    "normalised_softmax": {"scale": 16.0, "smoothing": 0.0, "smoothing_over": "wrong"},
    "cosface": {"scale": 16.0, "margin": 0.2, "smoothing": 0.0, "smoothing_over": "wrong"},
    "arcface": {"scale": 16.0, "margin": 0.2, "smoothing": 0.0, "smoothing_over": "wrong"},
    "center": {"weight": 1e-4, "centre_rate": 0.5},
    "contrastive": {"margin": 1.0},
    "snca": {"temperature": 0.1},
    "multi_similarity": {"alpha": 2.0, "beta": 50.0, "margin": 0.5},
    "pce": {"temperature": 0.1},
    "spce": {"temperature": 0.1},
    "peer": {"peer": None, "peer_options": None, "miner": None, "miner_options": None},
}


@dataclass(frozen=True)
class LossConfig:
    """What is minimised. A parameter left out has the loss's own default (docs/training.md)."""

    name: Annotated[LossName, Field(description="which loss")] = "cross_entropy"
    smoothing: Annotated[Fraction | None, Field(description="eps of label smoothing")] = None
    smoothing_over: Annotated[
        Literal["wrong", "all"] | None,
        Field(description="`wrong`: eps / (C - 1) on each wrong class; `all`: eps / C on every class, as torch"),
    ] = None
    scale: Annotated[Positive | None, Field(description="factor of the cosines: an inverse temperature")] = None
    margin: Annotated[
        float | None,
        Field(
            ge=0.0,
            description="cosface: off the right class's cosine; arcface: radians on its angle; contrastive: "
            "distance from which on strangers are left alone; multi_similarity: m",
        ),
    ] = None
    temperature: Annotated[
        Positive | None, Field(description="snca: sigma; pce, spce: of the mean cosine with a class")
    ] = None
    alpha: Annotated[Positive | None, Field(description="multi_similarity: steepness of the tightness")] = None
    beta: Annotated[Positive | None, Field(description="multi_similarity: steepness of the contrast")] = None
    weight: Annotated[float | None, Field(ge=0.0, description="center: factor of the tightness")] = None
    centre_rate: Annotated[
        float | None, Field(gt=0.0, le=1.0, description="center: how far a centre moves to its class's mean in a batch")
    ] = None
    peer: Annotated[str | None, Field(description="peer: a class of pytorch_metric_learning.losses")] = None
    peer_options: Annotated[dict[str, Any] | None, Field(description="peer: that class's arguments")] = None
    miner: Annotated[str | None, Field(description="peer: a class of pytorch_metric_learning.miners")] = None
    miner_options: Annotated[dict[str, Any] | None, Field(description="peer: that class's arguments")] = None

    def __post_init__(self) -> None:
        """Refuse parameters of other losses, and fill in this one's defaults."""
        own = LOSSES[self.name]
        if self.name == "peer" and self.peer is None:
            raise ValueError("peer needs loss.peer: a class of pytorch_metric_learning.losses")
        for item in fields(self):
            if item.name == "name":
                continue
            value = getattr(self, item.name)
            if value is not None and item.name not in own:
                raise ValueError(_inapplicable(self.name, item.name))
            if value is None and item.name in own:
                object.__setattr__(self, item.name, own[item.name])


def _inapplicable(loss: str, parameter: str) -> str:
    taken = ", ".join(f"loss.{name}" for name in LOSSES[loss])
    others = [name for name, own in LOSSES.items() if parameter in own]
    nearest = difflib.get_close_matches(loss, others, n=1, cutoff=0.0)
    return f"{loss} takes no loss.{parameter} ({nearest[0]} does); it takes {taken}: say loss.{parameter}=null"
