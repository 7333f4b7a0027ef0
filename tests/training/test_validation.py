from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from index.bundle import Bundle
from index.datasets import grocery
from tests.miniature_sets import MINIATURES
from training.config import DataConfig
from training.data import read_training_set
from training.validation import held_out_protocols, own_test_protocols, seen_protocols, validate

GROCERY = Path(__file__).resolve().parents[3] / "shared" / "data" / "grocery"


def test_figures_are_of_the_held_out_classes_alone(drawn_pictures: Path, tiny_bundle: Bundle) -> None:
    data = read_training_set(DataConfig("folder", str(drawn_pictures), holdout=0.34))
    figures = validate(tiny_bundle, data)
    assert set(figures) == {"self"}
    assert (figures["self"]["queries"], figures["self"]["gallery"]) == (8, 8)
    assert figures["self"]["model"] == tiny_bundle.manifest.model_id


def test_nothing_held_out_nothing_to_say(drawn_pictures: Path, tiny_bundle: Bundle) -> None:
    assert validate(tiny_bundle, read_training_set(DataConfig("folder", str(drawn_pictures)))) == {}


@pytest.mark.grocery
@pytest.mark.skipif(not GROCERY.is_dir(), reason="../shared has no Grocery photographs")
def test_grocerys_test_classes_never_come_in() -> None:
    data = read_training_set(DataConfig("grocery", str(GROCERY), holdout=0.25))
    test_classes = {class_.name for class_ in grocery.read_classes(GROCERY) if class_.is_test}
    protocols = held_out_protocols(data)
    assert [protocol.name for protocol in protocols] == ["shelf", "catalogue"]
    for protocol in protocols:
        labels = {str(picture.label) for picture in (*protocol.queries, *protocol.gallery)}
        assert labels <= set(data.held_out_classes)
        assert not labels & (test_classes | set(data.classes))


@pytest.mark.parametrize("name", MINIATURES)
def test_each_benchmark_s_test_classes_are_its_own(tmp_path: Path, name: Any) -> None:
    root = MINIATURES[name](tmp_path)
    data = read_training_set(DataConfig(name, str(root / "dataset" if name == "grocery" else root)))
    protocols = own_test_protocols(data)
    assert [protocol.name for protocol in protocols] == (["shelf", "catalogue"] if name == "grocery" else ["test"])
    for protocol in protocols:
        labels = {picture.label for picture in (*protocol.queries, *protocol.gallery)}
        assert labels
        assert not labels & set(data.classes)


def test_as_many_trained_classes_are_drawn_as_are_asked_for(drawn_pictures: Path) -> None:
    data = read_training_set(DataConfig("folder", str(drawn_pictures), holdout=0.34))
    [protocol] = seen_protocols(data, 2, seed=0)
    labels = {str(picture.label) for picture in protocol.queries}
    assert len(labels) == 2
    assert labels < set(data.classes)
    assert protocol.queries == protocol.gallery == seen_protocols(data, 2, seed=0)[0].queries
    assert {p.label for seed in range(9) for p in seen_protocols(data, 2, seed)[0].queries} == set(data.classes)
