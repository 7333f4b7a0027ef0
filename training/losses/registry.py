"""A loss by its configuration, with the weights it needs for so many features and classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from training.loss_config import LossConfig
from training.losses.center import Center
from training.losses.classifiers import CosineClassifier, LinearClassifier
from training.losses.contrastive import Contrastive
from training.losses.cross_entropy import CrossEntropy, over_wrong_classes
from training.losses.multi_similarity import MultiSimilarity
from training.losses.normalised_softmax import ArcFace, CosFace, NormalisedSoftmax
from training.losses.pairwise_cross_entropy import Pce, Spce
from training.losses.parts import Criterion
from training.losses.peer import build_peer_loss
from training.losses.snca import Snca


class Shape(NamedTuple):
    """What a loss is built for."""

    features: int
    classes: int
    dropout: float  # on the classifier's path


def build_criterion(config: LossConfig, shape: Shape) -> Criterion:
    """The loss with new weights, drawn from torch's generator where they are drawn."""
    return _BUILDERS[config.name](config, shape)


def _smoothing(config: LossConfig, shape: Shape) -> float:
    return over_wrong_classes(_set(config.smoothing), _set(config.smoothing_over), shape.classes)


def _set(value: Any) -> Any:
    """A parameter that LossConfig has filled in."""
    assert value is not None
    return value


def _cross_entropy(config: LossConfig, shape: Shape) -> Criterion:
    return CrossEntropy(LinearClassifier(*shape), _smoothing(config, shape))


def _normalised_softmax(config: LossConfig, shape: Shape) -> Criterion:
    return NormalisedSoftmax(CosineClassifier(*shape), _set(config.scale), _smoothing(config, shape))


def _cosface(config: LossConfig, shape: Shape) -> Criterion:
    return CosFace(CosineClassifier(*shape), _set(config.scale), _set(config.margin), _smoothing(config, shape))


def _arcface(config: LossConfig, shape: Shape) -> Criterion:
    return ArcFace(CosineClassifier(*shape), _set(config.scale), _set(config.margin), _smoothing(config, shape))


def _center(config: LossConfig, shape: Shape) -> Criterion:
    return Center(LinearClassifier(*shape), _set(config.weight), _set(config.centre_rate))


def _contrastive(config: LossConfig, shape: Shape) -> Criterion:
    return Contrastive(_set(config.margin))


def _snca(config: LossConfig, shape: Shape) -> Criterion:
    return Snca(_set(config.temperature))


def _multi_similarity(config: LossConfig, shape: Shape) -> Criterion:
    return MultiSimilarity(_set(config.alpha), _set(config.beta), _set(config.margin))


def _pce(config: LossConfig, shape: Shape) -> Criterion:
    return Pce(LinearClassifier(*shape), _set(config.temperature))


def _spce(config: LossConfig, shape: Shape) -> Criterion:
    return Spce(_set(config.temperature))


def _peer(config: LossConfig, shape: Shape) -> Criterion:
    return build_peer_loss(config, shape.features, shape.classes)


_BUILDERS: Mapping[str, Callable[[LossConfig, Shape], Criterion]] = {
    "cross_entropy": _cross_entropy,
    "normalised_softmax": _normalised_softmax,
    "cosface": _cosface,
    "arcface": _arcface,
    "center": _center,
    "contrastive": _contrastive,
    "snca": _snca,
    "multi_similarity": _multi_similarity,
    "pce": _pce,
    "spce": _spce,
    "peer": _peer,
}
