"""Plain cross-entropy with label smoothing, the paper's loss: no mining, no pairs.

Boudiaf et al., ECCV 2020, Table 2: tightness -(1/n) sum_i theta_yi . z_i, contrast (1/n) sum_i log sum_k
exp(theta_k . z_i). With smoothing the target q_i takes the place of the one right class in the tightness.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.parts import LossParts


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> LossParts:
    """The parts for logits (n, C), which contain the bias, and labels (n,) int64; computed in float32.

    Targets by the reference's convention: 1 - smoothing on the right class, smoothing / (C - 1) on each wrong one.
    `torch.nn.functional.cross_entropy` spreads its smoothing over all C: its value for the same target is
    smoothing * C / (C - 1).
    """
    logits = logits.float()
    right = logits.gather(1, labels[:, None])[:, 0]  # (n,)
    wrong = (logits.sum(dim=1) - right) / (logits.shape[1] - 1)  # (n,) mean over the wrong classes
    tightness = -((1 - smoothing) * right + smoothing * wrong).mean()
    contrast = torch.logsumexp(logits, dim=1).mean()
    return LossParts(tightness + contrast, tightness, contrast)
