"""Any loss of pytorch-metric-learning, with any of its miners, behind our interface.

Its proxies and classifiers are parameters of the module, and so the model's. Such a loss has no parts. The library is
the extra `peers`; it is imported when a loss of it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from index.errors import UsageError
from training.loss_config import LossConfig
from training.losses.parts import Criterion, LossParts

_MODULES = {"loss.peer": "pytorch_metric_learning.losses", "loss.miner": "pytorch_metric_learning.miners"}


class PeerLoss(Criterion):
    """A loss, and a miner that chooses its pairs or triplets."""

    compares_pairs = True

    def __init__(self, loss: nn.Module, miner: nn.Module | None) -> None:
        super().__init__()
        self.loss = loss
        self.miner = miner

    def forward(self, features: Tensor, labels: Tensor) -> LossParts:
        """The library's value."""
        chosen = self.miner(features, labels) if self.miner is not None else None
        return LossParts(self.loss(features, labels, chosen), None, None)


def build_peer_loss(config: LossConfig, features: int, classes: int) -> PeerLoss:
    """The loss for features (n, d) of so many classes. Raises UsageError for what the library does not have."""
    assert config.peer is not None  # LossConfig sees to it
    sizes = {"embedding_size": features, "num_classes": classes}
    loss = _create("loss.peer", config.peer, config.peer_options or {}, sizes)
    if config.miner is None:
        return PeerLoss(loss, None)
    return PeerLoss(loss, _create("loss.miner", config.miner, config.miner_options or {}, {}))


def _create(where: str, name: str, options: Mapping[str, Any], sizes: Mapping[str, int]) -> nn.Module:
    """An instance of one of the library's classes, told the sizes that it asks for."""
    class_ = _find(where, name)
    asked = inspect.signature(class_)
    known = {key: size for key, size in sizes.items() if key in asked.parameters}
    try:
        instance: nn.Module = class_(**{**known, **options})
    except Exception as error:  # the library checks its arguments in many ways
        raise UsageError(
            f"{name} does not take these options", where=f"{where}_options", expected=f"{name}{asked}", found=error
        ) from error
    return instance


def _find(where: str, name: str) -> Any:
    module = _load(_MODULES[where])
    known = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise UsageError(
            f"{module.__name__} has no such class", where=where, found=name, remedy=f"did you mean `{near[0]}`?"
        )
    return getattr(module, name)


def _load(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            "this loss needs pytorch-metric-learning, which is not installed",
            where="loss.name",
            remedy="pip install '.[peers]' in the clone",
        ) from error
