from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.bundle import Bundle, read_bundle
from index.calibration import Calibration, parse_calibration, read_calibration
from index.errors import BundleFormatError
from index.manifest import write_manifest
from tests.tiny_model import tiny_calibration

FIELDS: dict[str, Any] = tiny_calibration().model_dump(mode="json")


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Any that the format allows, flat pieces among them."""
    scores = sorted(draw(st.sets(st.integers(-1000, 1000), min_size=2, max_size=12)))
    several = st.lists(st.integers(1, 999), min_size=len(scores), max_size=len(scores))
    knots = [(score / 1000, share / 1000) for score, share in zip(scores, sorted(draw(several)), strict=True)]
    return parse_calibration({**FIELDS, "knots": knots})


@given(calibrations(), st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=20))
def test_probabilities_rise_with_the_score_and_stay_within_the_knots(
    calibration: Calibration, scores: list[float]
) -> None:
    found = calibration.probabilities(sorted(scores))
    assert (np.diff(found) >= -1e-12).all()
    assert found.min() >= calibration.knots[0][1]
    assert found.max() <= calibration.knots[-1][1]
    assert [calibration.probability(score) for score in sorted(scores)] == found.tolist()


@given(calibrations(), st.floats(0.001, 0.999))
def test_the_score_at_a_probability_is_the_least_that_has_it(calibration: Calibration, probability: float) -> None:
    score = calibration.score_at(probability)
    lowest, highest = calibration.knots[0][1], calibration.knots[-1][1]
    if score is None:
        assert probability > highest
    elif probability <= lowest:
        assert score == -1.0
    else:
        assert calibration.probability(score) == pytest.approx(probability, abs=1e-9)
        assert calibration.probability(score - 1e-3) < probability


def test_the_least_score_of_a_flat_piece() -> None:
    assert parse_calibration(FIELDS).score_at(0.4) == pytest.approx(0.5)


def test_it_comes_out_of_a_bundle_and_goes_back_as_it_was(
    make_tiny_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    assert bundle.calibration is None
    assert read_calibration(bundle.manifest) is None
    write_manifest(bundle.folder, bundle.manifest.model_copy(update={"calibration": FIELDS}))
    calibration = read_bundle(bundle.folder).calibration
    assert calibration is not None
    assert calibration.thresholds["same_picture"] == 0.98
    assert calibration.model_dump(mode="json") == FIELDS


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("knots",), [[0.2, 0.1]], "calibration.knots"),
        (("knots",), [[0.2, 0.5], [0.4, 0.4]], "knots must rise"),
        (("knots",), [[0.2, 0.1], [0.2, 0.4]], "knots must rise"),
        (("knots",), [[0.2, 0.0], [0.4, 0.4]], "calibration.knots.0.1"),
        (("knots",), [[0.2, 0.1], [1.4, 0.4]], "calibration.knots.1.0"),
        (("knots",), [[0.2, float("nan")], [0.4, 0.4]], "calibration.knots.0.1"),
        (("method",), "platt", "calibration.method"),
        (("thresholds",), {"same_picture": 2}, "calibration.thresholds.same_picture"),
        (("sampling", "prior"), 1.5, "calibration.sampling.prior"),
        (("sampling", "queries"), None, "calibration.sampling.queries"),
        (("colour",), "red", "calibration.colour"),
    ],
)
def test_fields_that_do_not_fit_are_named(path: tuple[str, ...], value: Any, message: str) -> None:
    fields = copy.deepcopy(FIELDS)
    inner = fields
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(BundleFormatError) as caught:
        parse_calibration(fields)
    assert message in str(caught.value)
    assert "calibrate the bundle again" in str(caught.value)


def test_a_bundle_with_one_that_does_not_fit_is_refused(
    make_tiny_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    write_manifest(bundle.folder, bundle.manifest.model_copy(update={"calibration": {**FIELDS, "knots": []}}))
    with pytest.raises(BundleFormatError, match=r"manifest\.json: field `calibration\.knots` of the manifest"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_must_be_there(name: str) -> None:
    with pytest.raises(BundleFormatError, match=f"calibration.{name}"):
        parse_calibration({key: value for key, value in FIELDS.items() if key != name})
