"""A bundle assessed on pictures: whole figures, in whichever number of threads, and never a picture fewer."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.assessment import assess, encode_pictures
from index.bundle import Bundle
from index.datasets import Protocol, read_protocol
from index.encoder import Encoder
from index.errors import BrokenImageError, UnsupportedImageError, UsageError
from index.evaluation import Plan
from index.manifest import TrainingData
from index.sources import SourcePicture


def test_figures_of_pictures_that_lie_apart(tiny_bundle: Bundle, drawn_pictures: Path) -> None:
    assessment = assess(tiny_bundle, "folder", read_protocol("folder", drawn_pictures), threads=2)
    assert json.loads(json.dumps(assessment.to_json())) == {
        "data": "folder",
        "protocol": "self",
        "queries": 24,
        "gallery": 24,
        "recall": {"1": 1.0, "2": 1.0, "4": 1.0, "8": 1.0, "10": 1.0},
        "map_at_r": 1.0,
        "r_precision": 1.0,
        "precision_at_1": 1.0,
        "mean_average_precision": None,
        "cmc": None,
        "clustering": None,
        "seen": None,
        "unseen": None,
        "queries_without_match": 0,
        "classes": 6,
        "trained_classes": 0,
        "note": None,
        "model": tiny_bundle.manifest.model_id,
    }


def test_labels_decide(tiny_bundle: Bundle, drawn_pictures: Path) -> None:
    """A red picture that is called blue finds no blue one first, and is no right answer to the blue ones."""
    pictures = read_protocol("folder", drawn_pictures).gallery
    by_label = {label: [p for p in pictures if p.label == label] for label in ("red", "blue", "green")}
    odd = by_label["red"][0]
    wrong = SourcePicture(odd.key, "blue", odd.path)
    gallery = (*by_label["red"][1:], *by_label["blue"])
    figures = assess(
        tiny_bundle, "x", Protocol("p", (wrong, by_label["green"][0]), gallery), plan=Plan((1, 3, 4))
    ).figures
    assert figures.queries_without_match == 1
    assert figures.per_query.first_match.tolist() == [4]
    assert figures.recall == {1: 0.0, 3: 0.0, 4: 1.0}


def test_each_picture_is_encoded_once(tiny_bundle: Bundle, drawn_pictures: Path) -> None:
    pictures = read_protocol("folder", drawn_pictures).gallery
    overlapping = Protocol("p", pictures[:10], pictures[4:])
    steps: list[tuple[int, int]] = []
    assess(tiny_bundle, "x", overlapping, on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 24) for done in range(1, 25)]


def test_threads_change_no_bit(tiny_bundle: Bundle, drawn_pictures: Path) -> None:
    pictures = read_protocol("folder", drawn_pictures).gallery
    encoder = Encoder(tiny_bundle)
    expected = np.stack([encoder.encode_bytes(picture.path.read_bytes()) for picture in pictures])
    for threads in (1, 3):
        np.testing.assert_array_equal(encode_pictures(tiny_bundle, pictures, threads), expected)


def test_a_bad_picture_is_named(tiny_bundle: Bundle, own_pictures: Path) -> None:
    (own_pictures / "red" / "words.jpg").write_text("no picture at all")
    with pytest.raises(UnsupportedImageError, match=r"red/words\.jpg: not a picture"):
        assess(tiny_bundle, "folder", read_protocol("folder", own_pictures))


def test_a_missing_picture_is_named(tiny_bundle: Bundle, own_pictures: Path) -> None:
    protocol = read_protocol("folder", own_pictures)
    shutil.rmtree(own_pictures / "white")
    with pytest.raises(BrokenImageError, match=r"white/white-0\.png: can not be read: No such file"):
        assess(tiny_bundle, "folder", protocol)


def test_needs_a_thread(tiny_bundle: Bundle, drawn_pictures: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        assess(tiny_bundle, "folder", read_protocol("folder", drawn_pictures), threads=0)


def test_classes_that_were_trained_on_are_reported_apart(tiny_bundle: Bundle, drawn_pictures: Path) -> None:
    training = TrainingData(
        name="folder", digest="0" * 64, pictures=8, classes=("blue", "red"), seed=0, config={}, versions={}
    )
    bundle = replace(tiny_bundle, manifest=tiny_bundle.manifest.model_copy(update={"training": training}))
    protocol = read_protocol("folder", drawn_pictures)
    assessment = assess(bundle, "folder", protocol)
    fields = assessment.to_json()
    assert (fields["seen"]["queries"], fields["unseen"]["queries"]) == (8, 16)
    assert fields["seen"]["recall"]["1"] == 1.0
    assert (fields["classes"], fields["trained_classes"]) == (6, 2)
    assert fields["note"].startswith("2 of 6 classes were trained on by this bundle: `unseen`")
    assert assessment.figures == assess(tiny_bundle, "folder", protocol).figures
    seen_alone = Protocol("p", *(tuple(p for p in protocol.gallery if p.label in ("red", "blue")),) * 2)
    alone = assess(bundle, "folder", seen_alone).to_json()
    assert alone["seen"] is None  # nothing to compare with
    assert alone["note"].startswith("all 2 classes were trained on by this bundle: ")


def test_all_that_may_be_asked(tiny_bundle: Bundle, drawn_pictures: Path) -> None:
    plan = Plan((1, 2), full=True, cmc=3, clusterings=2)
    fields = assess(tiny_bundle, "folder", read_protocol("folder", drawn_pictures), plan=plan).to_json()
    assert fields["recall"] == {"1": 1.0, "2": 1.0}
    assert fields["mean_average_precision"] == 1.0
    assert fields["cmc"] == [1.0, 1.0, 1.0]
    assert fields["clustering"]["clusters"] == 6
    assert len(fields["clustering"]["nmi_by_seed"]) == 2
    with pytest.raises(UsageError, match="no such count"):
        assess(tiny_bundle, "folder", read_protocol("folder", drawn_pictures), plan=Plan(clusterings=-1))
