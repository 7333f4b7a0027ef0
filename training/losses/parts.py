"""What every loss returns: what is minimised, and how much of it pulls together and pushes apart."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class LossParts(NamedTuple):
    """Scalars; loss = tightness + contrast."""

    loss: Tensor
    tightness: Tensor  # falls as a class's features come together: a bound on H(Z|Y)
    contrast: Tensor  # falls as all features spread: a proxy for -H(Z)
