"""A bundle's scores on labelled pictures of classes it never saw -> its calibration. No torch.

Every query asks twice: in the gallery as it is, and with its own class taken out, where any answer is wrong. So the
probability knows both ways of being wrong: the wrong picture is nearest, or the right one is not there. What may
change here: how the answers are sampled, said in the manifest. What may not: a class the bundle was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index.assessment import Progress, encode_pictures
from index.bundle import Bundle
from index.calibration import Calibration, Sampling
from index.datasets import Protocol
from index.errors import UsageError
from index.sources import SourcePicture
from index.types import Ids, Vectors
from training.isotonic import Answers, Floats, fit_knots
from training.resaving import measure_same_picture

LEAST_QUERIES = 20
LEAST_CLASSES = 2
PRIOR = 0.5
_GROUPS = 5  # of classes, each left out of a fit once to measure the error
_QUERIES_AT_ONCE = 128  # 60 MB a temporary in a gallery of 60,000
_BINS = 10  # of equal width in probability, of the calibration error and the reliability diagram


@dataclass(frozen=True, eq=False)
class BestMatches:
    """For each query (n,): the score of its best gallery picture of its own class and of any other, and its class.

    -inf where there is no such picture.
    """

    same: Floats
    other: Floats
    labels: NDArray[np.str_]
    gallery: int  # pictures, on average

    def join(self, more: BestMatches) -> BestMatches:
        """Both, as from one longer list of queries."""
        n, m = len(self.same), len(more.same)
        return BestMatches(
            np.concatenate((self.same, more.same)),
            np.concatenate((self.other, more.other)),
            np.concatenate((self.labels, more.labels)),
            round((n * self.gallery + m * more.gallery) / (n + m)),
        )

    def answers(self, prior: float) -> tuple[Answers, NDArray[np.str_]]:
        """What the queries were answered, with their class in the gallery and without, and the classes that asked."""
        present, absent = np.isfinite(self.same), np.isfinite(self.other)
        best = np.maximum(self.same, self.other)
        scores = np.concatenate((best[present], self.other[absent])).clip(-1.0, 1.0)
        right = np.concatenate(((self.same > self.other)[present], np.zeros(absent.sum(), np.bool_)))
        weights = np.concatenate((_shares(prior, int(present.sum())), _shares(1 - prior, int(absent.sum()))))
        asked = np.concatenate((self.labels[present], self.labels[absent]))
        used = weights > 0
        return Answers(scores, right, weights).take(used), asked[used]


def _shares(total: float, count: int) -> Floats:
    return np.full(count, total / max(count, 1))


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers whose probability fell between two tenths."""

    answers: int
    weight: float  # share of all, by the prior
    probability: float  # mean of what was said
    frequency: float  # of right answers


@dataclass(frozen=True)
class CalibrationPlan:
    """How the answers are sampled."""

    source: Literal["held_out", "folds", "labelled"]
    data: str
    protocol: str
    folds: int | None = None
    prior: float = PRIOR
    same_picture: float | None = None  # the threshold, where it was measured


def find_best_matches(protocol: Protocol, pictures: Sequence[SourcePicture], vectors: Vectors) -> BestMatches:
    """Best scores of each query, from the unit vectors (n, d) float32 of `pictures`, which hold the protocol's."""
    rows = {picture.key: row for row, picture in enumerate(pictures)}
    labels = {label: number for number, label in enumerate(sorted({str(p.label) for p in pictures}))}
    asking, asked = (np.array([rows[p.key] for p in side], np.int64) for side in (protocol.queries, protocol.gallery))
    numbers = np.array([labels[str(picture.label)] for picture in pictures], np.int64)
    blocks = [
        _best_of_block(block, asked, numbers, vectors)
        for block in np.split(asking, range(_QUERIES_AT_ONCE, len(asking), _QUERIES_AT_ONCE))
    ]
    same, other = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    names = np.array([str(picture.label) for picture in protocol.queries])
    return BestMatches(same, other, names, len(asked))


def _best_of_block(queries: Ids, gallery: Ids, labels: Ids, vectors: Vectors) -> tuple[Floats, Floats]:
    scores = (vectors[queries] @ vectors[gallery].T).astype(np.float64)  # (b, g)
    alike = labels[queries][:, None] == labels[gallery]
    itself = queries[:, None] == gallery
    same = np.where(alike & ~itself, scores, -np.inf).max(axis=1)
    return same, np.where(alike, -np.inf, scores).max(axis=1)


def is_enough(matches: BestMatches) -> bool:
    """Whether so many queries can say anything about probabilities."""
    answered = np.isfinite(matches.same)
    return int(answered.sum()) >= LEAST_QUERIES and len(set(matches.labels[answered])) >= LEAST_CLASSES


def fit_calibration(matches: BestMatches, plan: CalibrationPlan) -> Calibration:
    """Fit on all answers; the error is measured on classes that a fit left out. Raises UsageError for too few."""
    if not is_enough(matches):
        raise UsageError(
            "too few pictures to calibrate on",
            where=plan.data,
            expected=f"at least {LEAST_QUERIES} queries of {LEAST_CLASSES} classes with another picture of their class",
            found=f"{int(np.isfinite(matches.same).sum())} queries",
            remedy="give more labelled pictures of classes that the model was not trained on",
        )
    answers, asked = matches.answers(plan.prior)
    try:
        knots = fit_knots(answers)
    except ValueError as error:
        raise UsageError("nothing to calibrate", where=plan.data, found=error) from error
    found = predict_left_out(answers, asked)
    return Calibration(
        method="isotonic",
        knots=knots,
        expected_calibration_error=None if found is None else calibration_error(answers, found),
        thresholds={} if plan.same_picture is None else {"same_picture": plan.same_picture},
        sampling=Sampling(
            source=plan.source,
            data=plan.data,
            protocol=plan.protocol,
            folds=plan.folds,
            classes=len(set(matches.labels)),
            queries=len(matches.labels),
            gallery=matches.gallery,
            prior=plan.prior,
        ),
    )


def predict_left_out(answers: Answers, asked: NDArray[np.str_]) -> Floats | None:
    """(n,) the probability of each answer by a fit that left its class out; None where that can not be done.

    Classes go into groups by their place in the alphabet, so the same answers always give the same figures.
    """
    names = sorted(set(asked.tolist()))
    groups = np.searchsorted(names, asked) % min(_GROUPS, len(names))
    found = np.empty(len(asked))
    for group in range(min(_GROUPS, len(names))):
        inside = groups == group
        try:
            scores, probabilities = np.array(fit_knots(answers.take(~inside))).T
        except ValueError:
            return None
        found[inside] = np.interp(answers.scores[inside], scores, probabilities)
    return found


def reliability(answers: Answers, found: Floats) -> tuple[ReliabilityBin, ...]:
    """Tenths of the probabilities `found` (n,), those without an answer left out."""
    bins = np.minimum((found * _BINS).astype(np.int64), _BINS - 1)
    whole = answers.weights.sum()
    rows = []
    for number in np.unique(bins):
        inside = bins == number
        weights = answers.weights[inside]
        probability = float(np.average(found[inside], weights=weights))
        frequency = float(np.average(answers.right[inside], weights=weights))
        rows.append(ReliabilityBin(int(inside.sum()), float(weights.sum() / whole), probability, frequency))
    return tuple(rows)


def calibration_error(answers: Answers, found: Floats) -> float:
    """Expected calibration error: sum over tenths of weight * |mean probability - frequency| (Naeini et al., 2015)."""
    return float(sum(one.weight * abs(one.probability - one.frequency) for one in reliability(answers, found)))


def calibrate(
    bundle: Bundle, protocol: Protocol, plan: CalibrationPlan, on_progress: Progress | None = None
) -> Calibration:
    """A bundle's calibration on the protocol's pictures, of which those of classes it was trained on are left out.

    Raises UsageError where too few are left, ImageError or VectorError for a picture that can not be encoded.
    """
    left = leave_out_trained(bundle, protocol)
    pictures = tuple({picture.key: picture for picture in (*left.gallery, *left.queries)}.values())
    vectors = encode_pictures(bundle, pictures, on_progress=on_progress)
    plan = replace(plan, protocol=protocol.name, same_picture=measure_same_picture(bundle, left.gallery))
    return fit_calibration(find_best_matches(left, pictures, vectors), plan)


def leave_out_trained(bundle: Bundle, protocol: Protocol) -> Protocol:
    """The protocol without the classes that the bundle was trained on. Raises UsageError where nothing is left."""
    trained = set(bundle.manifest.training.classes) if bundle.manifest.training else set()
    queries, gallery = (
        tuple(picture for picture in side if picture.label not in trained)
        for side in (protocol.queries, protocol.gallery)
    )
    if not queries or not gallery:
        raise UsageError(
            "the bundle was trained on every class that could calibrate it",
            where=bundle.folder,
            expected="classes that it never saw",
            remedy="give other labelled pictures",
        )
    return Protocol(protocol.name, queries, gallery)


def join_matches(parts: Sequence[BestMatches]) -> BestMatches:
    """The queries of several folds of classes as one list."""
    return reduce(BestMatches.join, parts)
