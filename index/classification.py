"""What a picture shows, by the vote of its labelled neighbours.

A neighbour's vote weighs exp(score / 0.07): the weighted k-nearest-neighbour rule and its temperature are those of
Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4. With a
calibration, the votes share out the probability that the best neighbour is of the picture's class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from index.types import Match

TEMPERATURE = 0.07
LEAST_PROBABILITY = 0.5  # of the best class, below which the answer is "none of these"


@dataclass(frozen=True)
class ClassVote:
    """One label that neighbours have."""

    label: str
    votes: int  # neighbours
    share: float  # of the weighted votes, 0 to 1
    probability: float | None  # that it is the picture's class; None without a calibration
    score: float  # of its nearest neighbour
    item: int  # the id of that neighbour


@dataclass(frozen=True)
class Verdict:
    """The classes, most likely first, and which one it is."""

    classes: tuple[ClassVote, ...]
    label: str | None  # None: no labelled neighbour, or none of these
    none_of_these: bool | None  # None without a calibration


def classify(matches: Sequence[Match], least: float = LEAST_PROBABILITY) -> Verdict:
    """The vote of `matches`, best first; those without a label have none."""
    voters = [match for match in matches if match.item.label is not None]
    if not voters:
        return Verdict((), None, None if not matches or matches[0].probability is None else True)
    known = voters[0].probability  # that the best neighbour is of the picture's class
    weights = [math.exp((match.score - voters[0].score) / TEMPERATURE) for match in voters]
    total = math.fsum(weights)
    shares: dict[str, float] = {}
    for match, weight in zip(voters, weights, strict=True):
        shares[str(match.item.label)] = shares.get(str(match.item.label), 0.0) + weight / total
    classes = [_count(label, share, known, voters) for label, share in shares.items()]
    classes.sort(key=lambda one: (-one.share, -one.score, one.item))
    best = classes[0]
    none = None if best.probability is None else best.probability < least
    return Verdict(tuple(classes), None if none else best.label, none)


def _count(label: str, share: float, known: float | None, voters: Sequence[Match]) -> ClassVote:
    own = [match for match in voters if match.item.label == label]
    probability = None if known is None else known * min(1.0, share)
    return ClassVote(label, len(own), min(1.0, share), probability, own[0].score, own[0].item.id)
