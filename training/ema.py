"""An exponential moving average of an encoder's weights: what is exported where `train.ema` is set.

It starts at the weights that training starts from. What may change here: when it is updated.
"""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Encoder = TypeVar("Encoder", bound=nn.Module)


class MovingAverage(Generic[Encoder]):
    """average <- decay * average + (1 - decay) * weights, after every step."""

    def __init__(self, encoder: Encoder, decay: float) -> None:
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, encoder: Encoder) -> None:
        """Take in the weights of the same encoder; counters are copied."""
        new = encoder.state_dict()
        averaged = [(old, new[name]) for name, old in self.encoder.state_dict().items()]
        floats = [pair for pair in averaged if pair[0].is_floating_point()]
        olds: list[Tensor] = [old for old, _ in floats]
        torch._foreach_lerp_(olds, [tensor for _, tensor in floats], 1 - self._decay)
        for old, tensor in averaged:
            if not old.is_floating_point():
                old.copy_(tensor)
