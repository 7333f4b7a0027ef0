from __future__ import annotations

import numpy as np

from training.examination import Examination
from training.report.findings import NEIGHBOURS, find


def test_rows_are_the_neighbours_of_a_search_by_hand(examination: Examination) -> None:
    found = find(examination, rows=24)
    scores = examination.vectors @ examination.vectors.T
    places = {picture.key: row for row, picture in enumerate(examination.pictures)}
    assert len(found.best) == 24
    for row in found.best:
        query = places[row.query.key]
        expected = np.argsort(-np.where(np.arange(24) == query, -2, scores[query]))[:NEIGHBOURS]
        assert [places[one.picture.key] for one in row.neighbours] == expected.tolist()
        assert [one.right for one in row.neighbours] == [one.picture.label == row.query.label for one in row.neighbours]


def test_best_and_worst_are_ordered_and_of_several_classes(examination: Examination) -> None:
    found = find(examination, rows=4)
    every = examination.assessment.figures.per_query.average_precision
    assert found.best[0].precision == every.max()
    assert found.worst[0].precision == every.min() < 1
    assert len({row.query.label for row in found.best}) == 4
    assert len({row.query.label for row in found.worst}) == 4


def test_classes_add_up_to_the_figures(examination: Examination) -> None:
    rows = find(examination).classes
    figures = examination.assessment.figures
    assert sum(row.queries for row in rows) == figures.queries
    assert np.isclose(sum(row.queries * row.recall for row in rows) / figures.queries, figures.recall[1])
    assert np.isclose(sum(row.queries * row.map_at_r for row in rows) / figures.queries, figures.map_at_r)
    assert [row.recall for row in rows] == sorted(row.recall for row in rows)


def test_confusions_are_all_the_queries_that_found_another_class_first(examination: Examination) -> None:
    found = find(examination, confusions=1000).confusions
    figures = examination.assessment.figures
    assert sum(one.times for one in found) == round((1 - figures.recall[1]) * figures.queries) > 0
    for one in found:
        assert one.label != one.taken_for
        assert one.example.query.label == one.label
        assert one.example.neighbours[0].picture.label == one.taken_for
    assert [one.times for one in found] == sorted((one.times for one in found), reverse=True)
