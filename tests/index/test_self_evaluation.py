"""An index measures itself: figures from labels by hand, and searches against exact ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index.builder import BuildPlan, build_index
from index.bundle import Bundle
from index.self_evaluation import EvaluationPlan, evaluate_index
from index.sources import read_source
from index.writer import Put
from tests.drawn_pictures import write_drawn_pictures
from tests.vector_gallery import add_rows, apply, draw_rows, encoded, generation_of, make_index


def test_figures_from_labels(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    model = generation_of(layout).model_id
    turns = np.deg2rad([0, 10, 30, 90])  # nearest neighbours: 0 <-> 1, 2 -> 1, 3 -> 2
    rows = np.zeros((4, 16), np.float32)
    rows[:, 0], rows[:, 1] = np.cos(turns), np.sin(turns)
    labels = ["a", "a", "b", "b"]
    apply(layout, [Put(str(n), labels[n], {}, None, encoded(rows[n], model)) for n in range(4)])
    found = evaluate_index(layout.folder)
    assert found.labelled == 4
    assert found.figures is not None
    assert found.figures.recall[1] == pytest.approx(3 / 4)  # all but 2, whose nearest is 1
    assert found.figures.map_at_r == pytest.approx(3 / 4)
    assert found.to_json()["recall"]["1"] == pytest.approx(3 / 4)


def test_a_query_never_finds_itself(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    model = generation_of(layout).model_id
    rows = draw_rows(2)
    apply(layout, [Put(str(n), label, {}, None, encoded(rows[n], model)) for n, label in enumerate("ab")])
    assert evaluate_index(layout.folder).figures is None  # no two pictures share a label


def test_searches_against_exact_ones(tmp_path: Path, tiny_bundle: Bundle) -> None:
    write_drawn_pictures(tmp_path / "pictures")
    build_index(read_source(tmp_path / "pictures"), tiny_bundle, tmp_path / "index", BuildPlan(threads=1))
    found = evaluate_index(tmp_path / "index", EvaluationPlan(queries=10, probes=5))
    assert found.figures is not None
    assert found.figures.queries == 10
    assert found.figures.recall[1] == 1.0
    assert found.comparison is not None
    assert (found.comparison.probes, found.comparison.recall_at_10) == (5, 1.0)
    assert 0 < found.comparison.search.p50_ms <= found.comparison.search.p99_ms


def test_an_empty_index_and_one_without_labels(tmp_path: Path, tiny_bundle: Bundle) -> None:
    layout = make_index(tmp_path / "index", tiny_bundle)
    found = evaluate_index(layout.folder)
    assert (found.pictures, found.figures, found.comparison) == (0, None, None)
    add_rows(layout, draw_rows(30))
    found = evaluate_index(layout.folder)
    assert found.figures is None
    assert found.to_json()["recall"] is None
    assert found.comparison is not None
    assert found.comparison.recall_at_10 == 1.0
