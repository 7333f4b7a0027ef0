"""One state of an index, and a question -> a page of matches, best first: exact, however much is left out.

More candidates are fetched until enough of them may be results, so a page is full wherever there is enough to fill it.
What may change here: how many are fetched at a time. Not: that only those are counted below which nothing was missed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from index.calibration import Calibration
from index.catalog import Catalog
from index.cursors import Cursor, decode_cursor
from index.errors import UsageError
from index.queries import MAX_DEPTH, MAX_K, Bounds, Page, Probes
from index.types import Ids, Item, Match, Vectors, score_pairs
from index.view import View, find_candidates

_LOWEST, _HIGHEST = -2.0, 2.0  # beyond every cosine
_ROUNDING = 1e-6  # of the score that belongs to a probability, which is itself what decides


@dataclass(frozen=True, eq=False)
class Asked:
    """A question as an index answers it."""

    probes: Probes
    bounds: Bounds
    page: Page

    def digest(self) -> bytes:
        """8 bytes that stand for everything which decides the choice and the order of results."""
        bounds = self.bounds
        choice = repr((bounds.min_score, bounds.min_probability, sorted(bounds.exclude)))
        return hashlib.sha256(self.probes.digest() + choice.encode()).digest()[:8]


@dataclass(frozen=True)
class Reach:
    """How far to look: `k` results after a place, with one more if there is one."""

    k: int
    exclude: frozenset[int] = frozenset()  # ids of items
    least: float = _LOWEST  # score
    after: Cursor | None = None


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Pictures (n,), their scores (n,), and the score from which on none is missing."""

    pictures: Ids
    scores: Vectors
    floor: float


def find_page(
    view: View, catalog: Catalog, asked: Asked, calibration: Calibration | None
) -> tuple[tuple[Match, ...], str | None]:
    """The matches of a page, with probabilities, and the cursor of the next one. Raises UsageError."""
    page, question = asked.page, asked.digest()
    if not 1 <= page.k <= MAX_K:
        raise UsageError("k is out of range", expected=f"1 to {MAX_K}", found=page.k)
    after = decode_cursor(page.cursor) if page.cursor is not None else None
    if after is not None:
        after.check(view.generation.id, question)
    seen = page.k + (after.seen if after else 0)
    if seen > MAX_DEPTH:
        raise UsageError("too deep", expected=f"at most {MAX_DEPTH} results of one question", found=seen)
    known = None if asked.probes.moved else calibration
    least = find_least(asked.bounds, known, calibrated=calibration is not None)
    found = find_matches(view, catalog, asked.probes, Reach(page.k, asked.bounds.exclude, least, after))
    found = weigh(found, known, asked.bounds.min_probability)
    matches, more = tuple(found[: page.k]), None
    if len(found) > page.k and seen < MAX_DEPTH:
        more = Cursor(view.generation.id, matches[-1].item.id, matches[-1].score, seen, question).encode()
    return matches, more


def find_least(bounds: Bounds, calibration: Calibration | None, *, calibrated: bool) -> float:
    """The score below which nothing can be a result. Raises UsageError where a probability can not be told."""
    least = _LOWEST if bounds.min_score is None else bounds.min_score
    if bounds.min_probability is None:
        return least
    if calibration is None:
        why = "with negatives in an average" if calibrated else "where the model's bundle has no calibration"
        raise UsageError(
            f"there are no probabilities {why}",
            found=f"min_probability {bounds.min_probability:g}",
            remedy="use min_score",
        )
    score = calibration.score_at(bounds.min_probability)
    return _HIGHEST if score is None else max(least, score - _ROUNDING)


def weigh(matches: list[Match], calibration: Calibration | None, least: float | None) -> list[Match]:
    """The matches with their probabilities, less those below the `least`; without a calibration, as they are."""
    if calibration is None:
        return matches
    weighed = [replace(match, probability=calibration.probability(match.score)) for match in matches]
    return [match for match in weighed if least is None or (match.probability or 0.0) >= least]


def find_matches(view: View, catalog: Catalog, probes: Probes, reach: Reach) -> list[Match]:
    """The next `k` matches and one more, or all there are."""
    wanted = reach.k + 1 + len(reach.exclude) + (reach.after.seen if reach.after else 0)
    living = count_living(view)
    while True:
        candidates = _gather(view, probes, wanted)
        complete = wanted >= living or candidates.floor < reach.least
        matches = _judge(view, catalog, probes, _drop_low(candidates, reach.least, complete=complete))
        found = [one for one in matches if one.item.id not in reach.exclude and _comes_after(one, reach.after)]
        if complete or len(found) > reach.k:
            return found[: reach.k + 1]
        wanted *= 4


def count_living(view: View) -> int:
    """How many pictures a view holds."""
    sealed = view.snapshot.pictures if view.snapshot and view.sealed else 0
    return sealed + len(view.delta_ids) - len(view.removed)


def _gather(view: View, probes: Probes, wanted: int) -> _Candidates:
    """Of each probe, the pictures that may be among its best `wanted`; a picture scores by its best probe."""
    found = [find_candidates(view, probe, wanted) for probe in probes.towards]
    pictures = np.unique(np.concatenate(found)) if len(found) > 1 else found[0]
    rows = view.rows.read(pictures)
    scores = np.stack([score_pairs(rows, probe) for probe in probes.towards])  # (p, n)
    return _Candidates(pictures, scores.max(axis=0), max(_find_floor(row, wanted) for row in scores))


def _find_floor(scores: Vectors, wanted: int) -> float:
    """The score of the last of the best `wanted`: those above it are all there."""
    if len(scores) < wanted:
        return _LOWEST
    return float(np.partition(scores, -wanted)[-wanted])


def _drop_low(candidates: _Candidates, least: float, *, complete: bool) -> _Candidates:
    """Those that score enough, and below which no better one is missing."""
    kept = candidates.scores >= (least if complete else max(least, candidates.floor))
    return _Candidates(candidates.pictures[kept], candidates.scores[kept], candidates.floor)


def _judge(view: View, catalog: Catalog, probes: Probes, candidates: _Candidates) -> list[Match]:
    """The candidates that no negative is nearer to, ranked."""
    pictures, scores = candidates.pictures, candidates.scores
    if len(probes.away) and len(pictures):
        rows = view.rows.read(pictures)
        kept = scores > np.max([score_pairs(rows, probe) for probe in probes.away], axis=0)
        pictures, scores = pictures[kept], scores[kept]
    return rank(pictures.tolist(), scores.tolist(), catalog.items_of_pictures(pictures))


def _comes_after(match: Match, cursor: Cursor | None) -> bool:
    return cursor is None or (-match.score, match.item.id) > (-cursor.score, cursor.item)


def rank(pictures: list[int], scores: list[float], items: dict[int, Item]) -> list[Match]:
    """An item a match, scored by its best picture, by descending score, equal ones by id."""
    best: dict[int, Match] = {}
    for picture, score in zip(pictures, scores, strict=True):
        item = items[picture]
        if item.id not in best or score > best[item.id].score:
            best[item.id] = Match(item, score)
    return sorted(best.values(), key=lambda match: (-match.score, match.item.id))
