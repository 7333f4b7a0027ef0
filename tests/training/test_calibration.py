from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import crossmatch
from index.bundle import Bundle, read_bundle
from index.datasets import Protocol, read_protocol
from index.encoder import Encoder
from index.errors import UsageError
from index.manifest import TrainingData, write_manifest
from index.sources import SourcePicture
from index.types import unit_vectors
from tests.drawn_pictures import write_drawn_pictures
from training.calibration import (
    BestMatches,
    CalibrationPlan,
    calibrate,
    calibration_error,
    find_best_matches,
    fit_calibration,
    leave_out_trained,
    predict_left_out,
)
from training.isotonic import Answers

PLAN = CalibrationPlan("labelled", "test", "self")


@pytest.fixture
def own_bundle(make_tiny_bundle: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "bundle")


def name_pictures(labels: str) -> tuple[SourcePicture, ...]:
    return tuple(SourcePicture(f"{n}", label, Path(f"{n}")) for n, label in enumerate(labels))


def test_best_scores_are_those_of_a_search_by_hand() -> None:
    pictures = name_pictures("aabbbc")
    vectors = unit_vectors(np.random.default_rng(1).normal(size=(6, 4)))
    found = find_best_matches(Protocol("self", pictures, pictures), pictures, vectors)
    scores = vectors @ vectors.T
    for row, picture in enumerate(pictures):
        same = [scores[row, i] for i, p in enumerate(pictures) if p.label == picture.label and i != row]
        other = [scores[row, i] for i, p in enumerate(pictures) if p.label != picture.label]
        assert found.same[row] == pytest.approx(max(same, default=-np.inf), abs=1e-6)
        assert found.other[row] == pytest.approx(max(other), abs=1e-6)
    assert found.same[5] == -np.inf  # the only one of its class
    assert (found.labels.tolist(), found.gallery) == (list("aabbbc"), 6)


def test_each_query_asks_with_its_class_and_without() -> None:
    matches = BestMatches(np.array([0.9, 0.3, -np.inf]), np.array([0.5, 0.4, 0.2]), np.array(["a", "b", "c"]), 10)
    answers, asked = matches.answers(prior=0.25)
    assert answers.scores.tolist() == [0.9, 0.4, 0.5, 0.4, 0.2]
    assert answers.right.tolist() == [True, False, False, False, False]
    assert answers.weights.tolist() == pytest.approx([0.125, 0.125, 0.25, 0.25, 0.25])
    assert asked.tolist() == ["a", "b", "a", "b", "c"]
    assert not matches.answers(prior=1.0)[0].weights.tolist()[2:]


def sample_matches(count: int, seed: int = 0) -> BestMatches:
    random = np.random.default_rng(seed)
    same, other = random.normal(0.7, 0.12, count), random.normal(0.45, 0.12, count)
    return BestMatches(same.clip(-1, 1), other.clip(-1, 1), np.array([f"c{i % 12}" for i in range(count)]), 500)


def test_probabilities_are_the_frequencies_of_fresh_answers() -> None:
    calibration = fit_calibration(sample_matches(4000), PLAN)
    fresh, _ = sample_matches(4000, seed=1).answers(0.5)
    error = calibration_error(fresh, calibration.probabilities(fresh.scores))
    assert error < 0.02
    assert calibration.expected_calibration_error == pytest.approx(error, abs=0.02)
    assert calibration.probability(0.9) > 0.9
    assert calibration.probability(0.3) < 0.1


def test_a_lower_prior_lowers_every_probability() -> None:
    matches = sample_matches(2000)
    often, rarely = (fit_calibration(matches, CalibrationPlan("labelled", "t", "self", prior=p)) for p in (0.8, 0.1))
    scores = np.linspace(0.4, 0.9, 20)
    assert (often.probabilities(scores) > rarely.probabilities(scores)).all()


def test_the_error_is_measured_on_classes_that_the_fit_left_out() -> None:
    """The class `odd` is wrong at scores where all others are right: only its own answers could tell."""
    asked = np.array(["a", "b", "c", "odd"] * 200)
    scores = np.random.default_rng(0).uniform(0, 1, 800)
    right = (scores > 0.5) ^ (asked == "odd")
    answers = Answers(scores, right, np.ones(800))
    found = predict_left_out(answers, asked)
    assert found is not None
    assert found[(asked == "odd") & (scores > 0.6)].min() > 0.9


def test_too_few_pictures_are_said() -> None:
    with pytest.raises(UsageError, match=r"too few pictures to calibrate on .*found 10 queries"):
        fit_calibration(sample_matches(10), PLAN)


def test_classes_that_were_trained_on_are_left_out(own_bundle: Bundle, drawn_pictures: Path) -> None:
    training = TrainingData(name="t", digest="", pictures=1, classes=("red", "blue"), seed=0, config={}, versions={})
    write_manifest(own_bundle.folder, own_bundle.manifest.model_copy(update={"training": training}))
    protocol = read_protocol("folder", drawn_pictures)
    left = leave_out_trained(read_bundle(own_bundle.folder), protocol)
    assert {p.label for p in (*left.queries, *left.gallery)} == {"green", "yellow", "white", "black"}
    everything = training.model_copy(update={"classes": tuple(str(p.label) for p in protocol.queries)})
    write_manifest(own_bundle.folder, own_bundle.manifest.model_copy(update={"training": everything}))
    with pytest.raises(UsageError, match="trained on every class"):
        calibrate(read_bundle(own_bundle.folder), protocol, PLAN)


def test_the_command_writes_it_and_leaves_the_rest(
    own_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_drawn_pictures(tmp_path / "drawn", per_label=6)
    words = ["model", "calibrate", str(own_bundle.folder), "--data", "folder", "--root", str(pictures)]
    assert crossmatch.run([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    after = read_bundle(own_bundle.folder)
    assert after.calibration is not None
    assert after.manifest.model_copy(update={"calibration": None}) == own_bundle.manifest
    assert printed["knots"] == after.calibration.model_dump(mode="json")["knots"]
    assert printed["sampling"] == {
        "source": "labelled", "data": "folder", "protocol": "self", "folds": None,
        "classes": 6, "queries": 36, "gallery": 36, "prior": 0.5,
    }  # fmt: skip
    assert 0.5 < printed["thresholds"]["same_picture"] <= 1.0
    assert Encoder(after).bundle.calibration == after.calibration
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "drawn"]  # no draft is left
    assert crossmatch.run(words) == 0
    out, err = capsys.readouterr()
    assert "expected_calibration_error" in out
    assert not re.search(r"[{}]|\d\.\d{5}", out)  # neither raw fields nor sixteen digits
    assert f"crossmatch index build SOURCE --model {own_bundle.folder} --index DIR --update" in err


def test_an_index_s_own_bundle_is_left_alone(
    own_bundle: Bundle, drawn_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_bundle.folder.parent / "vectors.f32").touch()
    words = ["model", "calibrate", str(own_bundle.folder), "--data", "folder", "--root", str(drawn_pictures)]
    before = (own_bundle.folder / "manifest.json").read_bytes()
    assert crossmatch.run(words) == 2
    assert "an index's own copy" in capsys.readouterr().err
    assert (own_bundle.folder / "manifest.json").read_bytes() == before
