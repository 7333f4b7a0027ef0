"""What in a run is worth looking at: best and worst queries, classes by recall, which class is taken for which.

Pure: from an examination's vectors and figures, nothing drawn and no file opened. What may change here: how many.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from index.exact_search import search_exact
from index.sources import SourcePicture
from index.types import Ids
from training.examination import Examination

NEIGHBOURS = 6


@dataclass(frozen=True)
class Neighbour:
    """A gallery picture that a query found."""

    picture: SourcePicture
    score: float
    right: bool  # of the query's class


@dataclass(frozen=True)
class QueryRow:
    """A query and its nearest gallery pictures, best first."""

    query: SourcePicture
    precision: float  # average precision at R, 0 to 1
    first_match: int  # rank of the first right one; 0: beyond what was looked at
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class ClassRow:
    """The figures of one class's queries."""

    label: str
    queries: int
    recall: float  # at 1
    map_at_r: float


@dataclass(frozen=True)
class Confusion:
    """How often a class's queries found another class first, with one example: the surest."""

    label: str
    taken_for: str
    times: int
    queries: int  # of the class
    example: QueryRow


@dataclass(frozen=True)
class Findings:
    """All of one protocol."""

    best: tuple[QueryRow, ...]
    worst: tuple[QueryRow, ...]
    classes: tuple[ClassRow, ...]  # worst first
    confusions: tuple[Confusion, ...]  # most frequent first


def find(examination: Examination, rows: int = 5, confusions: int = 12) -> Findings:
    """What is worth looking at in one examination: `rows` queries of either kind, first one a class."""
    every = _query_rows(examination)
    # Of queries that are equally good or bad, the ones whose first neighbour is surest.
    best = sorted(every, key=lambda row: (-row.precision, -row.neighbours[0].score))
    worst = sorted(every, key=lambda row: (row.precision, row.first_match == 1, -row.neighbours[0].score))
    bad = [row for row in worst if row.precision < 1]
    return Findings(_spread(best, rows), _spread(bad, rows), _classes(examination), _confusions(every, confusions))


def _query_rows(examination: Examination) -> list[QueryRow]:
    pictures, vectors = examination.pictures, examination.vectors
    places = {picture.key: row for row, picture in enumerate(pictures)}
    gallery = np.array([places[picture.key] for picture in examination.protocol.gallery], np.int64)
    figures = examination.assessment.figures.per_query
    reach = min(NEIGHBOURS + 1, len(gallery))
    scores, found = search_exact(vectors[figures.ids], vectors[gallery], reach)
    rows = []
    for number, query in enumerate(figures.ids.tolist()):
        label = pictures[query].label
        neighbours = [
            Neighbour(pictures[place], float(score), pictures[place].label == label)
            for place, score in zip(gallery[found[number]].tolist(), scores[number], strict=True)
            if place != query
        ]
        precision, first = float(figures.average_precision[number]), int(figures.first_match[number])
        rows.append(QueryRow(pictures[query], precision, first, tuple(neighbours[:NEIGHBOURS])))
    return rows


def _spread(rows: list[QueryRow], count: int) -> tuple[QueryRow, ...]:
    """The first `count`, each of another class as long as there are so many."""
    seen: set[str | None] = set()
    first: list[QueryRow] = []
    rest: list[QueryRow] = []
    for row in rows:
        (rest if row.query.label in seen else first).append(row)
        seen.add(row.query.label)
    return tuple((first + rest)[:count])


def _classes(examination: Examination) -> tuple[ClassRow, ...]:
    figures = examination.assessment.figures.per_query
    rows = []
    for number in np.unique(figures.labels):
        inside: Ids = np.flatnonzero(figures.labels == number)
        label = str(examination.pictures[int(figures.ids[inside[0]])].label)
        recall = float((figures.first_match[inside] == 1).mean())
        rows.append(ClassRow(label, len(inside), recall, float(figures.average_precision[inside].mean())))
    return tuple(sorted(rows, key=lambda row: (row.recall, row.map_at_r, row.label)))


def _confusions(rows: list[QueryRow], count: int) -> tuple[Confusion, ...]:
    queries = Counter(str(row.query.label) for row in rows)
    wrong: dict[tuple[str, str], list[QueryRow]] = {}
    for row in rows:
        if not row.neighbours[0].right:
            wrong.setdefault((str(row.query.label), str(row.neighbours[0].picture.label)), []).append(row)
    found = [
        Confusion(label, other, len(those), queries[label], max(those, key=lambda row: row.neighbours[0].score))
        for (label, other), those in wrong.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.times, -one.times / one.queries, one.label))[:count])
