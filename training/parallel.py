"""One run in several processes, as `torchrun` starts them: who is who, and features gathered from all.

Each process encodes its share of the batch. The features of all shares are gathered in every process, and the loss,
with the norm, drop-out and classifier before it, is computed on the whole batch in each: so pairwise losses see every
pair, BatchNorm on the features sees every picture, and a run has the same losses in one process as in many.

What may change here: the backend. What may not: process 0 alone writes files and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_gather
from torch.nn.parallel import DistributedDataParallel

from index.errors import UsageError
from training.model import Embedder

_PATIENCE = timedelta(hours=12)  # the others wait while process 0 exports and measures


@dataclass(frozen=True)
class Processes:
    """This process among all of the run."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of `total` pictures of a batch; the parts in the order of ranks are the batch."""
        each = total // self.count
        return slice(self.rank * each, (self.rank + 1) * each)


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()


def check_parallel(processes: Processes, batch_size: int, freeze_batch_norm: bool) -> None:
    """Raises UsageError for what would not be the same in several processes."""
    if batch_size % processes.count:
        raise UsageError(
            "the batch can not be shared out",
            where="train.batch_size",
            expected=f"a multiple of {processes.count} processes",
            found=batch_size,
        )
    if processes.count > 1 and not freeze_batch_norm:
        raise UsageError(
            "each process would have its own BatchNorm statistics",
            where="model.freeze_batch_norm",
            expected="true in more than one process",
            found=freeze_batch_norm,
        )


class ParallelFeatures(nn.Module):
    """What of an embedder runs before the features are gathered; shares its weights."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            part for part in (embedder.backbone, embedder.pooling, embedder.projection) if part is not None
        )
        self._features = embedder.features

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, 3, s, s) -> (n, d)."""
        return self._features(pictures)


def wrap_features(embedder: Embedder, processes: Processes) -> nn.Module:
    """Pictures of this process -> their features; in several processes, gradients are averaged as they come."""
    features = ParallelFeatures(embedder)
    return DistributedDataParallel(features, broadcast_buffers=False) if processes.count > 1 else features


def gather_features(features: Tensor, processes: Processes) -> Tensor:
    """(n, d) of this process -> (count * n, d) of all, with gradients into each.

    Every process then computes the whole batch's loss. The gather's backward adds up the processes' equal gradients,
    and DistributedDataParallel's mean takes the factor out again: the weights get the whole batch's gradient.
    """
    if processes.count == 1:
        return features
    return torch.cat(all_gather(features.contiguous()))  # type: ignore[no-untyped-call]


def gather_labels(labels: Tensor, processes: Processes) -> Tensor:
    """(n,) of this process -> (count * n,) of all."""
    if processes.count == 1:
        return labels
    found = [torch.empty_like(labels) for _ in range(processes.count)]
    distributed.all_gather(found, labels)
    return torch.cat(found)


def average_gradients(modules: tuple[nn.Module, ...], processes: Processes) -> None:
    """The same gradient in every process for what is computed from gathered features: equal already, up to rounding."""
    if processes.count == 1:
        return
    for module in modules:
        for parameter in module.parameters():
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= processes.count
