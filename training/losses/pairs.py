"""What the pairwise losses share: unit features, and which pictures of a batch have the same label."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def unit(features: Tensor) -> Tensor:
    """(n, d) of length 1, at least in float32."""
    return functional.normalize(_precise(features), dim=1)


def _precise(features: Tensor) -> Tensor:
    """In float32, or in float64 where they are: bfloat16 has three digits."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def same_label(labels: Tensor) -> Tensor:
    """(n, n) bool; the diagonal is True."""
    return labels[:, None] == labels[None, :]


def others(count: int, device: torch.device) -> Tensor:
    """(n, n) bool; all but the diagonal."""
    return ~torch.eye(count, dtype=torch.bool, device=device)


def distances(features: Tensor) -> Tensor:
    """(n, n) Euclidean. By differences: |a|^2 + |b|^2 - 2 a.b loses small ones to rounding."""
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """(n,) log of the sum of exp over the True places of each row; -inf where there are none."""
    return torch.logsumexp(values.masked_fill(~mask, -torch.inf), dim=1)
